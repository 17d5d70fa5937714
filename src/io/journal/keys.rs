//! The keys of what was accepted, each with the answer that it got: what comes a second time is answered the same way
//! and counted once.
//!
//! The memory is bounded: the oldest key is forgotten first. A key is *pending* from the moment its rows are taken until
//! they are durable, so that of two that come at the same time only one is taken.

use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keys that are remembered: who tries again does so within minutes, and at 100 requests a second this is one and a half.
/// At 255 bytes a key the memory stays below 5 MiB, and so does the record that carries them to the next segment.
pub const KEYS_MAX: usize = 10_000;

/// Bytes of one key: what libraries for such keys allow.
pub const KEY_BYTES_MAX: usize = 255;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Rows that were taken.
    pub accepted: u64,
    /// Rows that could not be read.
    pub rejected: u64,
}

/// What is known of a key that comes in.
#[derive(Debug)]
pub enum Seen {
    /// It is new; whoever holds this has to end it with [`Pending::done`], else it is as if it never came.
    New(Pending),
    /// The same key is being dealt with.
    Pending,
    /// It was dealt with.
    Done(Answer),
}

/// The keys of one feed.
#[derive(Debug, Clone, Default)]
pub struct Keys(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// `None` is pending.
    answers: HashMap<Vec<u8>, Option<Answer>>,
    /// The answered ones, oldest first.
    order: VecDeque<Vec<u8>>,
}

/// A key whose rows are on their way.
#[derive(Debug)]
pub struct Pending {
    keys: Keys,
    key: Option<Vec<u8>>,
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of this key; a new one is pending from now on.
    pub fn begin(&self, key: &[u8]) -> Seen {
        let mut inner = self.lock();
        match inner.answers.get(key) {
            Some(Some(answer)) => Seen::Done(*answer),
            Some(None) => Seen::Pending,
            None => {
                inner.answers.insert(key.to_vec(), None);
                Seen::New(Pending {
                    keys: self.clone(),
                    key: Some(key.to_vec()),
                })
            }
        }
    }

    /// Remembers an answer.
    pub(crate) fn remember(&self, key: Vec<u8>, answer: Answer) {
        let mut inner = self.lock();
        if let Some(Some(_)) = inner.answers.insert(key.clone(), Some(answer)) {
            return;
        }
        inner.order.push_back(key);
        if inner.order.len() > KEYS_MAX
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.answers.remove(&oldest);
        }
    }

    /// Every answered key, oldest first.
    pub(crate) fn answered(&self) -> Vec<(Vec<u8>, Answer)> {
        let inner = self.lock();
        let answer = |key: &Vec<u8>| Some((key.clone(), (*inner.answers.get(key)?)?));
        inner.order.iter().filter_map(answer).collect()
    }
}

impl Pending {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key.as_deref().unwrap_or_default()
    }

    /// Its rows are taken, and this is what was answered.
    pub fn done(mut self, answer: Answer) {
        if let Some(key) = self.key.take() {
            self.keys.remember(key, answer);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut inner = self.keys.lock();
            if inner.answers.get(&key) == Some(&None) {
                inner.answers.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(accepted: u64) -> Answer {
        Answer { accepted, rejected: 0 }
    }

    #[test]
    fn a_key_is_new_once() {
        let keys = Keys::default();
        let Seen::New(pending) = keys.begin(b"a") else {
            panic!("never seen")
        };
        assert!(matches!(keys.begin(b"a"), Seen::Pending));
        drop(pending);
        let Seen::New(pending) = keys.begin(b"a") else {
            panic!("given up, so as if it never came")
        };
        pending.done(answer(7));
        assert!(matches!(keys.begin(b"a"), Seen::Done(a) if a == answer(7)));
        assert_eq!(keys.answered(), [(b"a".to_vec(), answer(7))]);
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let keys = Keys::default();
        for i in 0..=KEYS_MAX {
            keys.remember(i.to_string().into_bytes(), answer(i as u64));
        }
        assert_eq!(keys.answered().len(), KEYS_MAX);
        assert!(matches!(keys.begin(b"0"), Seen::New(_)));
        assert!(matches!(keys.begin(b"1"), Seen::Done(a) if a == answer(1)));
    }
}
