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

/// What tells the bodies of requests with the same key apart: length and checksum, as who uses a key twice does so by
/// mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub(super) u64);

impl Digest {
    /// Of these bytes.
    pub fn of(body: &[u8]) -> Self {
        Self(((body.len() as u64) << 32) ^ u64::from(crc32fast::hash(body)))
    }
}

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
    /// It came with another body.
    Other,
}

/// The keys of one feed.
#[derive(Debug, Clone, Default)]
pub struct Keys(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// The answer `None` is pending.
    answers: HashMap<Vec<u8>, (Digest, Option<Answer>)>,
    /// The answered ones, oldest first.
    order: VecDeque<Vec<u8>>,
}

/// A key whose rows are on their way.
#[derive(Debug)]
pub struct Pending {
    keys: Keys,
    key: Option<Vec<u8>>,
    digest: Digest,
}

impl Keys {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of this key, which came with such a body; a new one is pending from now on.
    pub fn begin(&self, key: &[u8], digest: Digest) -> Seen {
        let mut inner = self.lock();
        match inner.answers.get(key) {
            Some((other, _)) if *other != digest => Seen::Other,
            Some((_, Some(answer))) => Seen::Done(*answer),
            Some((_, None)) => Seen::Pending,
            None => {
                inner.answers.insert(key.to_vec(), (digest, None));
                Seen::New(Pending {
                    keys: self.clone(),
                    key: Some(key.to_vec()),
                    digest,
                })
            }
        }
    }

    /// Remembers an answer.
    pub(crate) fn remember(&self, key: Vec<u8>, digest: Digest, answer: Answer) {
        let mut inner = self.lock();
        if let Some((_, Some(_))) = inner.answers.insert(key.clone(), (digest, Some(answer))) {
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
    pub(crate) fn answered(&self) -> Vec<(Vec<u8>, Digest, Answer)> {
        let inner = self.lock();
        let answer = |key: &Vec<u8>| {
            let (digest, answer) = *inner.answers.get(key)?;
            Some((key.clone(), digest, answer?))
        };
        inner.order.iter().filter_map(answer).collect()
    }
}

impl Pending {
    /// The key.
    pub fn key(&self) -> &[u8] {
        self.key.as_deref().unwrap_or_default()
    }

    /// What tells its body from others.
    #[cfg(any(feature = "mqtt", feature = "rabbitmq"))]
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The key, and what tells its body from others.
    pub(super) fn key_and_digest(&self) -> (&[u8], Digest) {
        (self.key(), self.digest)
    }

    /// Its rows are taken, and this is what was answered.
    pub fn done(mut self, answer: Answer) {
        if let Some(key) = self.key.take() {
            self.keys.remember(key, self.digest, answer);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let mut inner = self.keys.lock();
            if matches!(inner.answers.get(&key), Some((_, None))) {
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
        let Seen::New(pending) = keys.begin(b"a", Digest::of(b"x")) else {
            panic!("never seen")
        };
        assert!(matches!(keys.begin(b"a", Digest::of(b"x")), Seen::Pending));
        drop(pending);
        let Seen::New(pending) = keys.begin(b"a", Digest::of(b"x")) else {
            panic!("given up, so as if it never came")
        };
        pending.done(answer(7));
        assert!(matches!(keys.begin(b"a", Digest::of(b"x")), Seen::Done(a) if a == answer(7)));
        assert_eq!(keys.answered(), [(b"a".to_vec(), Digest::of(b"x"), answer(7))]);
        for body in [&b""[..], b"y", b"xx"] {
            assert!(matches!(keys.begin(b"a", Digest::of(body)), Seen::Other));
        }
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let keys = Keys::default();
        for i in 0..=KEYS_MAX {
            keys.remember(i.to_string().into_bytes(), Digest::default(), answer(i as u64));
        }
        assert_eq!(keys.answered().len(), KEYS_MAX);
        assert!(matches!(keys.begin(b"0", Digest::default()), Seen::New(_)));
        assert!(matches!(keys.begin(b"1", Digest::default()), Seen::Done(a) if a == answer(1)));
    }
}
