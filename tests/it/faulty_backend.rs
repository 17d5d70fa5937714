//! An engine on a backend that fails: the answer has the bits that the CPU alone gives, whatever went wrong and when.

use crate::random::Random;
use crate::support::{bits, closed, closed_on, pieces, table};
use millstream::backend::{Partial, Tolerance, Work};
use millstream::summary::LeafRun;
use millstream::{Backend, Batch, Cpu, Error, Spec, Window};
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
