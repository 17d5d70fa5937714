//! The steady state: no memory is allocated on the thread that packs, and no object is made on the device.
//!
//! A program of its own, as it counts what its allocator is asked for.

#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its functions too")]

#[path = "gpu/support.rs"]
mod support;

use millstream::Backend;
use millstream::backend::Work;
use millstream::backend::gpu::{Gpu, Moment, Options};
use millstream::cells::Cells;
use millstream::summary::Shape;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{describes, numbers, open, options, summary, work};

thread_local! {
    /// Whether this thread packs. Without a destructor and with a constant to begin with: using it allocates nothing.
    static PACKS: Cell<bool> = const { Cell::new(false) };
}

/// Allocations on threads that pack, while they are counted.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static COUNTS: AtomicBool = AtomicBool::new(false);

struct Counting;

impl Counting {
    fn count() {
        if COUNTS.load(Ordering::Relaxed) && PACKS.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[expect(unsafe_code, reason = "an allocator that counts is the only way to see allocations")]
// SAFETY: every call is handed to the system's allocator as it is; counting touches no memory that is allocated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Works until everything that is made once has been made, and works that are looked at.
const WARM: u64 = 40;
const WORKS: u64 = 60;

/// Memory that this process has, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// A work by its number, and the values that are to be found in it; none if it is not checked.
type Make = dyn Fn(u64) -> (Work, Vec<f64>);

/// So many works, as many in flight as there may be; each is checked against its values, where they are given.
fn stream(gpu: &mut Gpu, works: u64, make: impl Fn(u64) -> (Work, Vec<f64>)) {
    let depth = gpu.depth() as u64;
    let mut out = std::collections::VecDeque::new();
    for k in 0..works + depth {
        if k >= depth.min(works) && !out.is_empty() {
            let values: Vec<f64> = out.pop_front().unwrap();
            let partials = gpu.collect().unwrap().1;
            if !values.is_empty() {
                describes(summary(&partials), &values);
            }
        }
        if k < works {
            let (work, values) = make(k);
            gpu.submit(k, work).unwrap();
            out.push_back(values);
        }
    }
    assert!(out.is_empty());
}

/// A work with co-moments and many blocks.
fn broad(rows: usize) -> Work {
    let columns: Vec<(String, Vec<f64>)> = (0..6).map(|i| (format!("c{i}"), numbers(i, rows))).collect();
    let one = work(vec![1.0]);
    Work {
        batch: millstream::Batch::from_columns(columns).unwrap(),
        cells: Arc::new(Cells::single(rows, 1000)),
        shape: Arc::new(Shape {
            columns: 6,
            comoments: true,
            ..(*one.shape).clone()
        }),
        ..one
    }
}

#[test]
fn nothing_is_made_in_the_steady_state() {
    let looks = AtomicU64::new(0);
    let watch = move |moment| {
        // The watch is called on the thread that packs before it does.
        if let Moment::Packing(_) = moment {
            PACKS.set(true);
        }
        // Until it counts, answers come late: the packer has then waited for everything that it ever waits for.
        let late = matches!(moment, Moment::Answered(_)) && !COUNTS.load(Ordering::Relaxed);
        !late || looks.fetch_add(1, Ordering::Relaxed) % 8 == 7
    };
    let watched = Options {
        watch: Some(Arc::new(watch)),
        ..options()
    };
    let Some(mut gpu) = open(watched) else { return };
    let counters = gpu.counters();
    let kinds: [(&str, &Make); 4] = [
        ("large", &|k| {
            let values = numbers(k, 1 << 17);
            (work(values.clone()), values)
        }),
        ("small", &|k| {
            let values = numbers(k, 1000);
            (work(values.clone()), values)
        }),
        ("with gaps", &|k| {
            let mut values = numbers(k, 50_000);
            values.iter_mut().step_by(7).for_each(|x| *x = f64::NAN);
            (work(values), Vec::new())
        }),
        ("matrices", &|_| (broad(8_000), Vec::new())),
    ];
    for (name, make) in kinds {
        stream(&mut gpu, WARM, make);
        // What is made once may be made late: a steady state is one that is reached, and then makes nothing.
        let round = |gpu: &mut Gpu| {
            let (objects, memory) = (counters.objects(), resident_bytes());
            ALLOCATIONS.store(0, Ordering::Relaxed);
            COUNTS.store(true, Ordering::Relaxed);
            stream(gpu, WORKS, make);
            COUNTS.store(false, Ordering::Relaxed);
            let grown = resident_bytes().saturating_sub(memory) >> 24;
            (ALLOCATIONS.load(Ordering::Relaxed), counters.objects() - objects, grown)
        };
        let rounds: Vec<_> = (0..4).map(|_| round(&mut gpu)).collect();
        assert!(
            rounds.contains(&(0, 0, 0)),
            "{name}: allocations on the packing thread, objects on the device, 16 MiB more: {rounds:?}"
        );
    }
    // The counter counts: where more room is needed than ever before, there is something to see.
    COUNTS.store(true, Ordering::Relaxed);
    stream(&mut gpu, 1, |k| (work(numbers(k, 1 << 20)), numbers(k, 1 << 20)));
    COUNTS.store(false, Ordering::Relaxed);
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > 0, "the counter does not count");
}
