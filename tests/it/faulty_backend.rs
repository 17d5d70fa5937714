//! An engine on a backend that fails: the answer has the bits that the CPU alone gives, whatever went wrong and when.

use crate::random::Random;
use crate::support::{bits, closed, closed_on, pieces, table};
use millstream::backend::{Partial, Tolerance, Work};
use millstream::io::{self, ReadOptions};
use millstream::pipeline::{Query, analyze};
use millstream::summary::LeafRun;
use millstream::{Backend, Batch, Cpu, Engine, Error, Spec, Window};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Says that it did not take the work, and did not.
    RefuseAtSubmit,
    PanicAtSubmit,
    /// Takes the work, panics, and answers it later all the same.
    PanicAfterTaking,
    ForgetAtCollect,
    PanicAtCollect,
    /// Fails once, and has the answer the next time it is asked.
    LateAnswer,
    OldNumber,
    NewNumber,
    OneAnswerLess,
    OneAnswerMore,
    NoAnswers,
    OtherRows,
    OtherKind,
    OneColumnLess,
}

const FAULTS: [Fault; 14] = [
    Fault::RefuseAtSubmit,
    Fault::PanicAtSubmit,
    Fault::PanicAfterTaking,
    Fault::ForgetAtCollect,
    Fault::PanicAtCollect,
    Fault::LateAnswer,
    Fault::OldNumber,
    Fault::NewNumber,
    Fault::OneAnswerLess,
    Fault::OneAnswerMore,
    Fault::NoAnswers,
    Fault::OtherRows,
    Fault::OtherKind,
    Fault::OneColumnLess,
];

/// The CPU behind a front that goes wrong every so often.
struct Faulty {
    cpu: Cpu,
    fault: Fault,
    depth: usize,
    /// Every how many calls.
    every: u64,
    calls: u64,
    queue: VecDeque<(u64, Work)>,
    faults: Arc<AtomicU64>,
}

impl Faulty {
    fn fails_now(&mut self) -> bool {
        self.calls += 1;
        let now = self.calls.is_multiple_of(self.every);
        self.faults.fetch_add(u64::from(now), Ordering::Relaxed);
        now
    }

    fn error() -> Error {
        Error::Failed("lost, on purpose".into())
    }
}

impl Backend for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }
    fn device(&self) -> String {
        format!("{:?}", self.fault)
    }
    fn tolerance(&self) -> Tolerance {
        self.cpu.tolerance()
    }
    fn depth(&self) -> usize {
        self.depth
    }

    fn submit(&mut self, seq: u64, work: Work) -> millstream::Result<()> {
        let here = matches!(
            self.fault,
            Fault::RefuseAtSubmit | Fault::PanicAtSubmit | Fault::PanicAfterTaking
        );
        if here && self.fails_now() {
            match self.fault {
                Fault::RefuseAtSubmit => return Err(Self::error()),
                Fault::PanicAfterTaking => self.queue.push_back((seq, work)),
                _ => {}
            }
            std::panic::resume_unwind(Box::new("on purpose"));
        }
        self.queue.push_back((seq, work));
        Ok(())
    }

    fn collect(&mut self) -> millstream::Result<(u64, Vec<Partial>)> {
        let fails = !matches!(
            self.fault,
            Fault::RefuseAtSubmit | Fault::PanicAtSubmit | Fault::PanicAfterTaking
        ) && self.fails_now();
        if fails && self.fault == Fault::LateAnswer {
            return Err(Self::error());
        }
        let (seq, work) = self.queue.pop_front().ok_or_else(Self::error)?;
        let mut partials = self.cpu.reduce(&work);
        if !fails {
            return Ok((seq, partials));
        }
        match self.fault {
            Fault::ForgetAtCollect => return Err(Self::error()),
            Fault::PanicAtCollect => std::panic::resume_unwind(Box::new("on purpose")),
            Fault::OldNumber => return Ok((0, partials)),
            Fault::NewNumber => return Ok((seq + 1, partials)),
            Fault::OneAnswerLess => drop(partials.pop()),
            Fault::OneAnswerMore => partials.extend(partials.last().cloned()),
            Fault::NoAnswers => partials.clear(),
            Fault::OtherRows => {
                for partial in &mut partials {
                    if let Partial::Leaf(leaf) = partial {
                        leaf.rows += 1;
                    }
                }
                // Where every leaf is open, there is another way to be wrong.
                if partials.iter().all(|p| matches!(p, Partial::Open(_))) {
                    partials.clear();
                }
            }
            Fault::OneColumnLess => {
                for partial in &mut partials {
                    *partial = match partial {
                        Partial::Leaf(leaf) => {
                            leaf.columns.truncate(1);
                            continue;
                        }
                        Partial::Open(run) => {
                            let mut narrow = (*work.shape).clone();
                            narrow.columns -= 1;
                            let mut other = LeafRun::new(&narrow);
                            (0..run.rows()).for_each(|_| other.push(&narrow, &[1.0, 2.0], Some(0)));
                            Partial::Open(Box::new(other))
                        }
                    };
                }
            }
            Fault::OtherKind => {
                for partial in &mut partials {
                    *partial = match partial {
                        Partial::Open(run) => Partial::Leaf(Box::new(run.finish(&work.shape))),
                        Partial::Leaf(_) => Partial::Open(Box::new(LeafRun::new(&work.shape))),
                    };
                }
            }
            _ => {}
        }
        Ok((seq, partials))
    }
}

fn rows() -> Batch {
    let mut random = Random::new(9);
    let column = |random: &mut Random| (0..30_000).map(|_| random.normal() + 100.0).collect::<Vec<f64>>();
    let batch = table(&[column(&mut random), column(&mut random)]);
    let time_ns = (0..30_000).map(|i| i * 1_000_000 - 10_000_000_000).collect();
    batch.with_time_ns(time_ns).unwrap()
}

#[test]
fn no_fault_changes_a_bit() {
    let all = pieces(&rows(), 1700);
    let window = Window::Time {
        size_ns: 9_000_000_000,
        slide_ns: 3_000_000_000,
    };
    let spec = Spec::new().covariance().differences().quantiles(&[0.5]);
    for spec in [spec.clone(), spec.window(window)] {
        let whole = bits(&closed(&spec, &all));
        for fault in FAULTS {
            for (depth, every) in [(1, 1), (1, 3), (3, 1), (3, 2), (3, 5), (0, 2)] {
                let faults = Arc::new(AtomicU64::new(0));
                let (cpu, calls, queue) = (Cpu::new(), 0, VecDeque::new());
                let backend = Faulty {
                    cpu,
                    fault,
                    depth,
                    every,
                    calls,
                    queue,
                    faults: faults.clone(),
                };
                let found = bits(&closed_on(&spec, Box::new(backend), &all));
                assert!(faults.load(Ordering::Relaxed) > 0, "{fault:?} never happened");
                assert!(
                    found == whole,
                    "{fault:?}, depth {depth}, every {every}, grouped {}",
                    spec.is_grouped()
                );
            }
        }
    }
}

fn faulty(fault: Fault, depth: usize, every: u64) -> (Box<dyn Backend>, Arc<AtomicU64>) {
    let faults = Arc::new(AtomicU64::new(0));
    let backend = Faulty {
        cpu: Cpu::new(),
        fault,
        depth,
        every,
        calls: 0,
        queue: VecDeque::new(),
        faults: faults.clone(),
    };
    (Box::new(backend), faults)
}

#[test]
fn every_work_that_fell_to_the_cpu_is_counted_once_with_the_first_reason() {
    let all = pieces(&rows(), 5000);
    for (fault, reason) in [
        (Fault::RefuseAtSubmit, "lost, on purpose"),
        (Fault::PanicAtSubmit, "panicked: on purpose"),
        (Fault::ForgetAtCollect, "lost, on purpose"),
        (Fault::PanicAtCollect, "panicked: on purpose"),
        (Fault::OneAnswerLess, "does not fit"),
        (Fault::NewNumber, "instead of"),
    ] {
        for every in [1, 2] {
            let (backend, faults) = faulty(fault, 1, every);
            let mut engine = Engine::with_backend(Spec::new(), backend).unwrap();
            assert_eq!((engine.fallbacks().count, &engine.fallbacks().first_reason), (0, &None));
            all.iter().for_each(|batch| drop(engine.push(batch).unwrap()));
            assert_eq!(engine.finish().unwrap().rows, 30_000);
            let found = engine.fallbacks();
            assert_eq!(found.count, faults.load(Ordering::Relaxed), "{fault:?}");
            assert!(found.count > 1, "{fault:?}");
            let first = found.first_reason.as_deref().unwrap();
            assert!(first.contains(reason), "{fault:?}: {first:?} lacks {reason:?}");
        }
    }
    let mut engine = Engine::with_backend(Spec::new(), faulty(Fault::RefuseAtSubmit, 1, u64::MAX).0).unwrap();
    all.iter().for_each(|batch| drop(engine.push(batch).unwrap()));
    engine.finish().unwrap();
    assert_eq!(engine.fallbacks().count, 0);
}

#[test]
fn an_analysis_says_once_that_the_backend_failed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table.csv");
    let text: String = (0..300_000).map(|i| format!("{i},{}\n", i % 7)).collect();
    std::fs::write(&path, format!("a,b\n{text}")).unwrap();
    let run = |backend: Box<dyn Backend>| {
        let source = io::open(std::slice::from_ref(&path), &ReadOptions::default()).unwrap();
        analyze(source, &Query::default(), backend, &mut |_| {}).unwrap()
    };
    let (backend, faults) = faulty(Fault::ForgetAtCollect, 2, 2);
    let (lost, whole) = (run(backend), run(Box::new(Cpu::new())));
    assert_eq!(lost.report.groups, whole.report.groups);
    assert_eq!((lost.report.backend.as_str(), whole.notes.len()), ("faulty", 0));
    let count = faults.load(Ordering::Relaxed);
    let works = if count == 1 {
        "1 work,".to_owned()
    } else {
        format!("{count} works,")
    };
    assert_eq!(lost.notes.len(), 1, "{:?}", lost.notes);
    for part in ["faulty", &works, "CPU", "lost, on purpose"] {
        assert!(lost.notes[0].contains(part), "{:?} lacks {part:?}", lost.notes[0]);
    }
}
