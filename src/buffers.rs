//! Large memory that was used and is free: the next who needs as much takes it.
//!
//! A system hands out large memory page by page and clears each one, which takes longer than most row-by-row kernels need
//! to fill it: on an Intel Xeon of two cores 10M `f64` were written in 20.1 ms to memory that was new, and in 7.6 ms to
//! memory that had been used.

use arrow::buffer::{Buffer, ScalarBuffer};
use bytes::Bytes;
use pulp::bytemuck::{self, Pod};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Results below which the allocator has memory at hand, 1 MiB of them, and how many are kept at most, 256 MiB.
const RESULTS_MIN: usize = 1 << 17;
const RESULTS_MAX: usize = 1 << 25;
/// How many times longer than what is asked for memory may be that is used for it.
const LENGTH_MAX: usize = 2;
/// The least length is this many times the step in which lengths grow: what is a little longer than the one before fits.
const STEPS: usize = 8;

/// Memory that is free or lent; clones share it.
#[derive(Debug)]
pub(crate) struct Buffers<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    /// Numbers below which memory comes from the allocator, which has as much at hand, and goes back to it.
    least: usize,
    /// Numbers that are kept at most.
    most: usize,
    /// What became free last stands last.
    free: Mutex<Vec<Vec<T>>>,
}

impl<T> Shared<T> {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Buffers<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Pod + Send + Sync> Buffers<T> {
    /// Memory for `least` numbers and more at a time, of which so many are kept at most.
    pub(crate) fn new(least: usize, most: usize) -> Self {
        let free = Mutex::default();
        Self {
            shared: Arc::new(Shared { least, most, free }),
        }
    }

    /// So many numbers, in which anything stands.
    pub(crate) fn take(&self, count: usize) -> Vec<T> {
        let least = self.shared.least;
        if count < least {
            return vec![T::zeroed(); count];
        }
        let mut free = self.shared.free();
        let fits =
            |(_, numbers): &(usize, &Vec<T>)| (count..=LENGTH_MAX.saturating_mul(count)).contains(&numbers.capacity());
        let shortest = free
            .iter()
            .enumerate()
            .filter(fits)
            .min_by_key(|(_, numbers)| numbers.capacity());
        let found = shortest.map(|(place, _)| place).map(|place| free.remove(place));
        drop(free);
        let mut numbers = found.unwrap_or_else(|| vec![T::zeroed(); count.next_multiple_of(least.div_ceil(STEPS))]);
        numbers.resize(count, T::zeroed());
        numbers
    }

    /// Numbers as bytes; when their last owner has dropped them, their memory is free again.
    pub(crate) fn lend(&self, numbers: Vec<T>) -> Bytes {
        let shared = Arc::downgrade(&self.shared);
        Bytes::from_owner(Lent { numbers, shared })
    }
}

impl Buffers<f64> {
    /// Memory of row-by-row results.
    pub(crate) fn of_results() -> Self {
        Self::new(RESULTS_MIN, RESULTS_MAX)
    }

    /// Numbers as an Arrow buffer; when its last owner has dropped it, its memory is free again.
    pub(crate) fn lend_values(&self, numbers: Vec<f64>) -> ScalarBuffer<f64> {
        if numbers.capacity() < self.shared.least {
            return numbers.into();
        }
        let count = numbers.len();
        ScalarBuffer::new(Buffer::from(self.lend(numbers)), 0, count)
    }
}

/// What is in use.
struct Lent<T> {
    numbers: Vec<T>,
    shared: Weak<Shared<T>>,
}

impl<T: Pod> AsRef<[u8]> for Lent<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.numbers)
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let length = self.numbers.capacity();
        if !(shared.least..=shared.most).contains(&length) {
            return;
        }
        let mut free = shared.free();
        let mut kept: usize = free.iter().map(Vec::capacity).sum();
        // What nobody has taken for longest makes room.
        let mut needless = 0;
        while kept + length > shared.most {
            kept -= free[needless].capacity();
            needless += 1;
        }
        free.drain(..needless);
        free.push(std::mem::take(&mut self.numbers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: usize = 1 << 12;
    const MOST: usize = 1 << 16;

    #[test]
    fn memory_is_used_again_when_its_last_owner_has_gone() {
        let buffers = Buffers::new(LEAST, MOST);
        let numbers = buffers.take(LEAST + 5);
        let place = numbers.as_ptr();
        let shared = buffers.lend_values(numbers);
        let clone = shared.clone();
        drop(shared);
        let other = |count| buffers.take(count) as Vec<f64>;
        let is_taken = |numbers: Vec<f64>| numbers.as_ptr() == place;
        assert!(!is_taken(other(LEAST)), "it is in use");
        assert_eq!(clone.as_ptr(), place);
        drop(clone);
        assert!(!is_taken(other(LEAST / 4)), "it is too long");
        assert!(!is_taken(other(2 * LEAST)), "it is too short");
        // A little more than before.
        let again = other(LEAST + 7);
        assert_eq!((again.as_ptr(), again.len()), (place, LEAST + 7));
    }

    #[test]
    fn no_more_is_kept_than_is_allowed_and_nothing_for_nobody() {
        let buffers = Buffers::new(LEAST, MOST);
        let lent = |length: usize| buffers.lend(vec![1u8; length]);
        let lengths = || buffers.shared.free().iter().map(Vec::len).collect::<Vec<_>>();
        drop([lent(0), lent(LEAST - 1), lent(MOST + 1)]);
        assert!(lengths().is_empty());
        // The oldest makes room.
        drop(lent(MOST / 2));
        drop(lent(MOST / 4));
        drop(lent(MOST / 2 + 1));
        assert_eq!(lengths(), [MOST / 4, MOST / 2 + 1]);
        let last = lent(MOST / 2);
        drop(buffers);
        assert_eq!(last[MOST / 2 - 1], 1);
    }
}
