//! A bounded number of bytes that is shared by everything that waits for its turn: bodies, queued rows, records.
//!
//! Who wants to hold bytes takes a [`Share`] first, at once ([`Budget::try_take`]) or when there is room
//! ([`Budget::take`]), and gives it back by dropping it. Queues that are bounded in number alone would hold any amount of
//! memory, as their elements may be of any size.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many bytes may be held at once, and how many are.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: u64,
    held: Mutex<u64>,
    freed: Condvar,
}

impl Inner {
    /// A number is right whatever happened to the thread that held the lock.
    fn held(&self) -> MutexGuard<'_, u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are held until this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Inner>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self(Arc::new(Inner {
            max,
            held: Mutex::new(0),
            freed: Condvar::new(),
        }))
    }

    /// So many bytes, if there is room for them; something larger than the whole gets all of it, alone.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<Share> {
        let mut held = self.0.held();
        let bytes = bytes.min(self.0.max);
        if self.0.max - *held < bytes {
            return None;
        }
        *held += bytes;
        Some(Share {
            of: Arc::clone(&self.0),
            bytes,
        })
    }

    /// So many bytes, when there is room for them within the time.
    pub(crate) fn take(&self, bytes: u64, within: Duration) -> Option<Share> {
        let until = Instant::now() + within;
        let bytes = bytes.min(self.0.max);
        let mut held = self.0.held();
        while self.0.max - *held < bytes {
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.0.freed.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *held += bytes;
        Some(Share {
            of: Arc::clone(&self.0),
            bytes,
        })
    }

    /// Whether nothing more can be taken.
    #[cfg(any(feature = "mqtt", feature = "net", feature = "rabbitmq"))]
    pub(crate) fn is_spent(&self) -> bool {
        *self.0.held() >= self.0.max
    }
}

impl Share {
    /// What is held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes what is held to so many bytes; false where there is no room for more.
    #[cfg(feature = "net")]
    pub(crate) fn try_resize(&mut self, bytes: u64) -> bool {
        self.resize(bytes, Duration::ZERO)
    }

    /// Changes what is held to so many bytes, when there is room for more within the time; false where there is not.
    pub(crate) fn resize(&mut self, bytes: u64, within: Duration) -> bool {
        let until = Instant::now() + within;
        let bytes = bytes.min(self.of.max);
        let mut held = self.of.held();
        while self.of.max - (*held - self.bytes) < bytes {
            let Some(left) = until
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return false;
            };
            let waited = self.of.freed.wait_timeout(held, left);
            held = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *held = *held - self.bytes + bytes;
        let fewer = bytes < self.bytes;
        self.bytes = bytes;
        drop(held);
        if fewer {
            self.of.freed.notify_all();
        }
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.of.held() -= self.bytes;
        self.of.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_sum_up_to_more_than_the_whole() {
        let budget = Budget::new(10);
        let first = budget.try_take(6).unwrap();
        assert!(budget.try_take(5).is_none());
        let second = budget.try_take(4).unwrap();
        assert!(budget.try_take(1).is_none());
        drop(first);
        assert!(budget.try_take(6).is_some());
        drop(second);
        assert!(budget.try_take(1000).is_some(), "more than the whole, but alone");
    }

    #[test]
    fn who_waits_gets_what_becomes_free() {
        let budget = Budget::new(10);
        let held = budget.try_take(10).unwrap();
        assert!(budget.take(1, Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.take(10, Duration::from_secs(60)).is_some());
            drop(held);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn a_share_grows_while_there_is_room() {
        let budget = Budget::new(10);
        let mut share = budget.try_take(2).unwrap();
        let other = budget.try_take(3).unwrap();
        assert!(share.resize(7, Duration::ZERO) && !share.resize(8, Duration::ZERO));
        assert!(share.resize(1, Duration::ZERO) && share.resize(7, Duration::ZERO));
        drop((share, other));
        assert!(budget.try_take(10).is_some());
    }
}
