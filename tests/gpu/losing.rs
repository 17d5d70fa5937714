//! Every way to lose a device, with works in flight: each row is counted once, and the device is tried again.

use crate::support::{describes, numbers, open, options, summary, work};
use millstream::backend::gpu::{Counters, Gpu, Moment, Options};
use millstream::backend::{Backend, Partial, Resident, Tolerance, Work};
use millstream::cells::Cells;
use millstream::summary::Shape;
use millstream::{Batch, Engine, Error, Spec};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A GPU that the engine has, and the test too.
#[derive(Clone)]
struct Shared(Arc<Mutex<Gpu>>);

impl Shared {
    fn new(gpu: Gpu) -> Self {
        Self(Arc::new(Mutex::new(gpu)))
    }

    fn gpu(&self) -> MutexGuard<'_, Gpu> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counters(&self) -> Arc<Counters> {
        self.gpu().counters()
    }
}

impl Backend for Shared {
    fn name(&self) -> &str {
        "gpu"
    }
    fn device(&self) -> String {
        self.gpu().device()
    }
    fn tolerance(&self) -> Tolerance {
        self.gpu().tolerance()
    }
    fn submit(&mut self, seq: u64, work: Work) -> millstream::Result<()> {
        self.gpu().submit(seq, work)
    }
    fn collect(&mut self) -> millstream::Result<(u64, Vec<Partial>)> {
        self.gpu().collect()
    }
    fn depth(&self) -> usize {
        self.gpu().depth()
    }
    fn carries(&self) -> bool {
        self.gpu().carries()
    }
    fn block_rows(&self, shape: &Shape) -> Option<usize> {
        self.gpu().block_rows(shape)
    }
    fn upload(&mut self, batch: &Batch) -> millstream::Result<Resident> {
        self.gpu().upload(batch)
    }
}

/// Rows of a work of the engine, where there is one column.
const ROWS: usize = 1 << 16;

/// Options with which a lost device is tried again at once.
fn eager() -> Options {
    Options {
        retry: Duration::ZERO,
        ..options()
    }
}

/// An engine over so many batches, with something to do after each; what it finds must be of all of them.
fn engine_over(gpu: &Shared, batches: u64, mut after: impl FnMut(u64)) {
    let mut engine = Engine::with_backend(Spec::new().mean_and_variance(), Box::new(gpu.clone())).unwrap();
    let mut all = Vec::new();
    for k in 0..batches {
        let values = numbers(k, ROWS + 100);
        engine
            .push(&Batch::from_columns([("x", values.clone())]).unwrap())
            .unwrap();
        all.extend(values);
        after(k);
    }
    describes(&engine.close().unwrap()[0].summary, &all);
}

#[test]
fn a_device_that_is_destroyed() {
    let Some(gpu) = open(eager()) else { return };
    let gpu = Shared::new(gpu);
    let counters = gpu.counters();
    engine_over(&gpu, 30, |k| {
        if k % 10 == 5 {
            gpu.gpu().destroy_device();
        }
    });
    assert!(counters.losses() >= 1);
    // It is tried again: the device is at work after the last loss.
    let before = counters.dispatches();
    engine_over(&gpu, 3, |_| {});
    assert!(counters.dispatches() > before);
}

#[test]
fn a_device_that_is_not_tried_again_yet() {
    let options = Options {
        retry: Duration::from_secs(100_000),
        ..options()
    };
    let Some(gpu) = open(options) else { return };
    gpu.destroy_device();
    let gpu = Shared::new(gpu);
    engine_over(&gpu, 20, |_| {});
    assert_eq!(gpu.counters().losses(), 1);
    assert_eq!(gpu.counters().devices(), 0);
    assert_eq!(gpu.counters().buffers(), 0, "what lay on it was given back");
    let mut gpu = gpu.gpu();
    assert!(gpu.submit(1, work(numbers(1, 10))).is_err());
    assert!(gpu.upload(&work(numbers(1, 10)).batch).is_err());
    assert!(gpu.collect().is_err(), "there is nothing to wait for");
}

#[test]
fn a_submission_that_hangs() {
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = hangs.clone();
    let watch = move |moment| !matches!(moment, Moment::Answered(_)) || !hanging.load(Ordering::Relaxed);
    let options = Options {
        timeout: Duration::from_millis(100),
        watch: Some(Arc::new(watch)),
        ..eager()
    };
    let Some(gpu) = open(options) else { return };
    let gpu = Shared::new(gpu);
    engine_over(&gpu, 6, |_| {});
    let lost = gpu.counters().losses();
    assert!(lost >= 1);
    // Later answers come again. A slow machine may lose the device once more, but not every time.
    hangs.store(false, Ordering::Relaxed);
    let mut gpu = gpu.gpu();
    let values = numbers(7, ROWS);
    let answered = (0..100).any(|k| {
        let sent = gpu.submit(k, work(values.clone()));
        let answer = sent.and_then(|()| gpu.collect());
        answer.is_ok_and(|(_, partials)| {
            describes(summary(&partials), &values);
            true
        })
    });
    assert!(answered);
}

#[test]
fn a_panic_in_the_thread_of_the_device() {
    let left = AtomicU64::new(3);
    let watch = move |moment| {
        let answered = matches!(moment, Moment::Answered(_));
        let less = |n: u64| n.checked_sub(1);
        if answered && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) == Ok(1) {
            // As a panic is, but without a word.
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        true
    };
    let options = Options {
        watch: Some(Arc::new(watch)),
        ..eager()
    };
    let Some(gpu) = open(options) else { return };
    let gpu = Shared::new(gpu);
    engine_over(&gpu, 20, |_| {});
    assert_eq!(gpu.counters().losses(), 1);
}

#[test]
fn a_panic_while_rows_are_packed() {
    let left = AtomicU64::new(5);
    let watch = move |moment| {
        let packed = matches!(moment, Moment::Packed { .. });
        let less = |n: u64| n.checked_sub(1);
        if packed && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) == Ok(1) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        true
    };
    let options = Options {
        watch: Some(Arc::new(watch)),
        ..eager()
    };
    let Some(gpu) = open(options) else { return };
    let gpu = Shared::new(gpu);
    engine_over(&gpu, 20, |_| {});
    assert_eq!(gpu.counters().losses(), 1);
}

#[test]
fn a_driver_that_does_not_come_back() {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let hangs = AtomicBool::new(true);
    let watch = move |moment| {
        if moment == Moment::Answered(2) && hangs.swap(false, Ordering::Relaxed) {
            // Until the test is over.
            let _ = ended.lock().unwrap().recv();
        }
        true
    };
    let options = Options {
        timeout: Duration::from_millis(100),
        watch: Some(Arc::new(watch)),
        ..eager()
    };
    let Some(gpu) = open(options) else { return };
    let gpu = Shared::new(gpu);
    engine_over(&gpu, 20, |_| {});
    assert!(gpu.counters().losses() >= 1);
    assert!(gpu.counters().devices() >= 1, "the one that hangs is still there");
    drop(gpu);
    drop(end);
}

#[test]
fn memory_for_nothing() {
    let options = Options {
        memory_bytes_max: Some(100_000),
        ..eager()
    };
    let Some(gpu) = open(options) else { return };
    let gpu = Shared::new(gpu);
    engine_over(&gpu, 20, |_| {});
    let counters = gpu.counters();
    assert_eq!(counters.losses(), 0, "the device is as it was");
    assert!(counters.dispatches() <= 1, "only the last rows fit");
    let mut gpu = gpu.gpu();
    let large = work(numbers(1, ROWS));
    let refused = gpu.upload(&large.batch);
    assert!(matches!(refused, Err(Error::Limit(_))), "{refused:?}");
    // A refusal does no harm to what fits.
    gpu.submit(1, work(numbers(1, 10))).unwrap();
    gpu.submit(2, large).unwrap();
    gpu.submit(3, work(numbers(3, 10))).unwrap();
    describes(summary(&gpu.collect().unwrap().1), &numbers(1, 10));
    assert!(gpu.collect().is_err());
    describes(summary(&gpu.collect().unwrap().1), &numbers(3, 10));
    assert!(counters.memory_bytes() <= 100_000 && counters.memory_bytes() > 0);
}

#[test]
fn memory_for_one_stage_instead_of_three() {
    let take = |gpu: &mut Gpu| {
        for k in 0..8 {
            gpu.submit(k, work(numbers(k, 2 * ROWS))).unwrap();
        }
        for k in 0..8 {
            describes(summary(&gpu.collect().unwrap().1), &numbers(k, 2 * ROWS));
        }
        gpu.counters().memory_bytes()
    };
    let alone = Options { depth: 1, ..options() };
    let Some(mut gpu) = open(alone) else { return };
    let stage = take(&mut gpu);
    let tight = Options {
        memory_bytes_max: Some(stage + stage / 8),
        ..options()
    };
    assert!(take(&mut open(tight).unwrap()) <= stage + stage / 8);
}

#[test]
fn rows_that_lay_on_a_lost_device() {
    let alone = Options { depth: 1, ..eager() };
    let Some(mut gpu) = open(alone) else { return };
    let counters = gpu.counters();
    let values = numbers(1, ROWS);
    let mut again = work(values.clone());
    let resident = gpu.upload(&again.batch).unwrap();
    again.cells = Arc::new(Cells::single(ROWS, resident.block_rows().unwrap()));
    again.resident = Some(resident);
    let uploaded = counters.uploaded_bytes();
    for k in 0..3 {
        gpu.submit(k, again.clone()).unwrap();
        describes(summary(&gpu.collect().unwrap().1), &values);
    }
    assert_eq!(counters.uploaded_bytes(), uploaded, "nothing was sent again");
    gpu.destroy_device();
    let mut failures = 0;
    for k in 3..13 {
        match gpu.submit(k, again.clone()).and_then(|()| gpu.collect()) {
            Ok((seq, partials)) => {
                assert_eq!(seq, k);
                describes(summary(&partials), &values);
            }
            Err(_) => failures += 1,
        }
    }
    assert_eq!((failures, counters.losses()), (1, 1));
    assert!(counters.uploaded_bytes() > uploaded, "they were packed like any others");
    assert_eq!(counters.devices(), 1, "the copy keeps no device");
    assert_eq!(counters.buffers(), 6, "nor any memory: what there is, is one stage");
}

/// Rows on a device go with the last that names them, however often they were reduced.
#[test]
fn rows_that_nobody_names_any_more() {
    let Some(mut gpu) = open(Options { depth: 1, ..options() }) else {
        return;
    };
    let counters = gpu.counters();
    let values = numbers(1, ROWS);
    let mut again = work(values.clone());
    let before = counters.buffers();
    for k in 0..3 {
        let resident = gpu.upload(&again.batch).unwrap();
        again.cells = Arc::new(Cells::single(ROWS, resident.block_rows().unwrap()));
        again.resident = Some(resident);
        gpu.submit(k, again.clone()).unwrap();
        describes(summary(&gpu.collect().unwrap().1), &values);
        assert!(counters.buffers() > before);
        again.resident = None;
        // The thread of the device may have had it last: it has let go once it has answered the next.
        gpu.submit(100 + k, work(numbers(2, 10))).unwrap();
        gpu.collect().unwrap();
        let stage = 6;
        assert!(
            counters.buffers() <= before + stage,
            "{} buffers are held",
            counters.buffers()
        );
    }
}

#[test]
fn a_gpu_that_is_dropped_with_works_in_flight() {
    // No answer is ever taken, and nobody waits for the time to run out.
    let options = Options {
        timeout: Duration::from_secs(100_000),
        watch: Some(Arc::new(|moment| !matches!(moment, Moment::Answered(_)))),
        ..options()
    };
    let Some(mut gpu) = open(options) else { return };
    let counters = gpu.counters();
    for k in 0..8 {
        gpu.submit(k, work(numbers(k, 2 * ROWS))).unwrap();
    }
    drop(gpu);
    assert_eq!((counters.devices(), counters.buffers()), (0, 0));
}

#[test]
fn shaders_that_do_not_compile() {
    if open(options()).is_none() {
        return;
    }
    let mut texts = millstream::backend::gpu::Texts::default();
    texts.moments.push_str("\nnonsense");
    let broken = Gpu::open(Options {
        texts: Arc::new(texts),
        ..options()
    });
    assert!(matches!(broken, Err(Error::Unavailable(_))), "{broken:?}");
}
