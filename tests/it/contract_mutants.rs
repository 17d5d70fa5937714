//! Backends with one thing wrong: the contract's suite has to say so, and what.

use crate::backend_contract::contract;
use crate::support::U;
use millstream::backend::{Partial, Tolerance, Work};
use millstream::batch::Column;
use millstream::cells::Cells;
use millstream::{Backend, Batch, Cpu};
use std::sync::Arc;

/// The CPU with one thing wrong: with the work, with the answers, or with the queue.
struct Mutant {
    cpu: Cpu,
    what: Fault,
    calls: u64,
    held: Vec<(u64, Vec<Partial>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    DropRow,
    IgnoreMask,
    ShiftMean,
    DropMean,
    ScaleVariance,
    SwapProducts,
    PlainMinimum,
    OneAnswerLess,
    Reversed,
    OtherBits,
    NewestFirst,
    AnswerWithoutWork,
}

impl Mutant {
    fn work(&self, mut work: Work) -> Work {
        let rows = work.batch.rows();
        match self.what {
            Fault::DropRow if work.cells.order.is_none() && rows > 1 => {
                let batch = work.batch.slice(0, rows - 1);
                Work {
                    cells: Arc::new(Cells::single(rows - 1, 4096)),
                    batch,
                    ..work
                }
            }
            Fault::IgnoreMask => {
                let bare = |c: &Column| Column {
                    nulls: None,
                    ..c.clone()
                };
                let columns = work
                    .batch
                    .names()
                    .iter()
                    .cloned()
                    .zip(work.batch.columns().iter().map(bare));
                let time_ns = work.batch.time_ns().unwrap_or(&[]).to_vec();
                work.batch = Batch::new(rows, columns.collect())
                    .unwrap()
                    .with_time_ns(time_ns)
                    .unwrap();
                work
            }
            _ => work,
        }
    }

    fn spoil(&self, mut partials: Vec<Partial>) -> Vec<Partial> {
        for partial in &mut partials {
            let Partial::Leaf(leaf) = partial else { continue };
            let first = &mut leaf.columns[0];
            match self.what {
                Fault::ShiftMean => first.sum.hi += 1e-9 * first.count as f64,
                Fault::DropMean => first.sum = millstream::summary::dd::Dd::ZERO,
                Fault::ScaleVariance => first.m2 *= 1.0 + 1e-11,
                Fault::PlainMinimum => first.min = first.min.min(0.0),
                Fault::SwapProducts => leaf.comoments.iter_mut().for_each(|m| m.products.swap(1, 2)),
                Fault::OtherBits if self.calls.is_multiple_of(2) => first.m2 *= 1.0 + 4.0 * U,
                _ => {}
            }
        }
        match self.what {
            Fault::OneAnswerLess => drop(partials.pop()),
            Fault::Reversed => partials.reverse(),
            _ => {}
        }
        partials
    }
}

impl Backend for Mutant {
    fn name(&self) -> &str {
        "mutant"
    }
    fn device(&self) -> String {
        format!("{:?}", self.what)
    }
    fn tolerance(&self) -> Tolerance {
        self.cpu.tolerance()
    }
    fn submit(&mut self, seq: u64, work: Work) -> millstream::Result<()> {
        self.calls += 1;
        let partials = self.spoil(self.cpu.reduce(&self.work(work)));
        self.held.push((seq, partials));
        Ok(())
    }
    fn collect(&mut self) -> millstream::Result<(u64, Vec<Partial>)> {
        let none = || millstream::Error::Failed("there is no work".into());
        match self.what {
            Fault::AnswerWithoutWork if self.held.is_empty() => Ok((0, Vec::new())),
            Fault::NewestFirst => self.held.pop().ok_or_else(none),
            _ if self.held.is_empty() => Err(none()),
            _ => Ok(self.held.remove(0)),
        }
    }
    fn depth(&self) -> usize {
        3
    }
}

#[test]
fn it_notices_what_is_broken() {
    let suite = |what| {
        contract(move || {
            Box::new(Mutant {
                cpu: Cpu::new(),
                what,
                calls: 0,
                held: Vec::new(),
            })
        })
    };
    assert_eq!(suite(Fault::None), Ok(()));
    for (fault, said) in [
        (Fault::DropRow, "rows, not"),
        (Fault::IgnoreMask, "counts"),
        (Fault::ShiftMean, "mean"),
        (Fault::DropMean, "mean"),
        (Fault::ScaleVariance, "variance"),
        (Fault::SwapProducts, "product"),
        (Fault::PlainMinimum, "extremes"),
        (Fault::OneAnswerLess, "answers for"),
        (Fault::Reversed, "rows"),
        (Fault::OtherBits, "other bits"),
        (Fault::NewestFirst, "came before"),
        (Fault::AnswerWithoutWork, "without work"),
    ] {
        let verdict = suite(fault);
        assert!(
            verdict.as_ref().is_err_and(|e| e.contains(said)),
            "{fault:?}: {verdict:?}"
        );
    }
}
