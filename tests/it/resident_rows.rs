//! Rows that were uploaded: whatever a backend does with them, every question gets the answer that the rows have.

use crate::losses::{loss_on, rows, spec};
use crate::support::{bits, closed, table};
use millstream::backend::{Backend, Partial, Resident, Tolerance, Work};
use millstream::{Batch, Cpu, Engine, Error, Model, Spec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Goes wrong in one way, always.
pub(crate) struct Wrong {
    pub(crate) cpu: Cpu,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum How {
    Refuses,
    Panics,
    NoLoss,
    OtherWeights,
    NoRoom,
    PanicsAtUpload,
}

impl Backend for Wrong {
    fn name(&self) -> &str {
        "wrong"
    }
    fn device(&self) -> String {
        format!("{:?}", self.how)
    }
    fn tolerance(&self) -> Tolerance {
        self.cpu.tolerance()
    }
    fn submit(&mut self, seq: u64, work: Work) -> millstream::Result<()> {
        match self.how {
            How::Refuses => Err(Error::Failed("refused, on purpose".into())),
            How::Panics => std::panic::resume_unwind(Box::new("on purpose")),
            _ => self.cpu.submit(seq, work),
        }
    }
    fn collect(&mut self) -> millstream::Result<(u64, Vec<Partial>)> {
        let (seq, mut partials) = self.cpu.collect()?;
        for partial in &mut partials {
            if let Partial::Leaf(leaf) = partial {
                match self.how {
                    How::NoLoss => leaf.loss = None,
                    How::OtherWeights => leaf.loss.iter_mut().for_each(|loss| loss.gradient.truncate(1)),
                    _ => {}
                }
            }
        }
        Ok((seq, partials))
    }
    fn depth(&self) -> usize {
        1
    }
    fn upload(&mut self, batch: &Batch) -> millstream::Result<Resident> {
        match self.how {
            How::NoRoom => Err(Error::Limit("no room, on purpose".into())),
            How::PanicsAtUpload => std::panic::resume_unwind(Box::new("on purpose")),
            _ => Ok(Resident::on_host(batch.clone())),
        }
    }
}

#[test]
fn a_backend_that_fails_changes_no_bit() {
    let batch = rows(9001, true);
    let spec = spec(Model::Logistic, &["near", "holes"], true);
    let weights = [0.5, 1.0, -1.0];
    let mut engine = Engine::new(Spec::new()).unwrap();
    let right = loss_on(&mut engine, &batch, &spec, &weights);
    for how in [
        How::Refuses,
        How::Panics,
        How::NoLoss,
        How::OtherWeights,
        How::PanicsAtUpload,
    ] {
        let backend = Box::new(Wrong { cpu: Cpu::new(), how });
        let mut engine = Engine::with_backend(Spec::new(), backend).unwrap();
        for _ in 0..3 {
            assert_eq!(loss_on(&mut engine, &batch, &spec, &weights), right, "{how:?}");
        }
    }
    let (cpu, how) = (Cpu::new(), How::NoRoom);
    let mut engine = Engine::with_backend(Spec::new(), Box::new(Wrong { cpu, how })).unwrap();
    let resident = engine.upload(&batch).unwrap();
    assert_eq!(engine.fallbacks().count, 1, "the rows stayed on the host");
    assert_eq!(engine.loss(&resident, &spec, &weights).unwrap(), right);
}

/// Knows the rows again that it has taken.
struct Keeps {
    cpu: Cpu,
    copies: Arc<AtomicUsize>,
    known: Arc<AtomicUsize>,
}

/// The number of a copy.
struct Copied(usize);

impl Backend for Keeps {
    fn name(&self) -> &str {
        "keeps"
    }
    fn device(&self) -> String {
        "a device that keeps rows".into()
    }
    fn tolerance(&self) -> Tolerance {
        self.cpu.tolerance()
    }
    fn submit(&mut self, seq: u64, work: Work) -> millstream::Result<()> {
        let resident = work.resident.as_ref().expect("rows that were uploaded");
        assert_eq!(resident.copy::<Copied>().expect("the copy").0, 1);
        assert_eq!(work.batch.rows(), resident.batch().rows());
        self.known.fetch_add(1, Ordering::Relaxed);
        self.cpu.submit(seq, work)
    }
    fn collect(&mut self) -> millstream::Result<(u64, Vec<Partial>)> {
        self.cpu.collect()
    }
    fn depth(&self) -> usize {
        1
    }
    fn upload(&mut self, batch: &Batch) -> millstream::Result<Resident> {
        let copy = Copied(self.copies.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Resident::on_device(batch.clone(), Arc::new(copy), 4096))
    }
}

/// Rows go over once, and every question names them.
#[test]
fn a_device_takes_the_rows_once() {
    let [copies, known] = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let backend = Keeps {
        cpu: Cpu::new(),
        copies: copies.clone(),
        known: known.clone(),
    };
    let mut engine = Engine::with_backend(Spec::new(), Box::new(backend)).unwrap();
    let resident = engine.upload(&rows(5000, true)).unwrap();
    engine.analyze_resident(&resident).unwrap();
    let spec = spec(Model::Linear, &["near", "far"], true);
    engine.loss(&resident, &spec, &[0.0; 3]).unwrap();
    let fit = millstream::fit(&mut engine, &resident, &spec).unwrap();
    assert!(fit.converged);
    assert_eq!(copies.load(Ordering::Relaxed), 1);
    // An analysis, a loss, co-moments, and more than one evaluation an iteration.
    assert!(known.load(Ordering::Relaxed) as u64 > 3 + fit.iterations, "{fit:?}");
}

/// Rows that were uploaded for one spec are analysed for another, of fewer columns in another order.
#[test]
fn uploaded_rows_serve_another_spec() {
    let batch = rows(5000, true);
    let other = Spec::new().columns(["y", "near"]).regression("near", &["narrow"]);
    let mut engine = Engine::new(Spec::new()).unwrap();
    let resident = engine.upload(&batch).unwrap();
    let mut engine = engine.with_spec(other.clone()).unwrap();
    let found = engine.analyze_resident(&resident).unwrap();
    let want = Engine::new(other).unwrap().analyze(&batch).unwrap();
    assert_eq!(found.groups, want.groups);
}

#[test]
fn an_analysis_of_uploaded_rows_has_the_bits_of_any_other() {
    let batch = rows(9001, true);
    let everything = Spec::new()
        .covariance()
        .differences()
        .quantiles(&[0.5])
        .regression("y", &["near", "narrow"]);
    let some = Spec::new().columns(["near"]).regression("y", &["narrow"]);
    let windows = Spec::new().window(millstream::Window::Rows { size: 1000, slide: 500 });
    for spec in [Spec::new(), everything, some, windows] {
        let mut engine = Engine::new(spec.clone()).unwrap();
        let resident = engine.upload(&batch).unwrap();
        let want = Engine::new(spec.clone()).unwrap().analyze(&batch).unwrap();
        for _ in 0..2 {
            // As text, in which NaN equals itself.
            assert_eq!(
                format!("{:?}", engine.analyze_resident(&resident).unwrap()),
                format!("{want:?}")
            );
        }
        assert_eq!(
            resident.batch().names().len(),
            if spec.columns.is_some() { 3 } else { 5 }
        );
    }
}

#[test]
fn uploaded_rows_leave_what_was_pushed_as_it_was() {
    let batch = table(&[(0..5000).map(f64::from).collect()]);
    let spec = Spec::new();
    let alone = bits(&closed(&spec, std::slice::from_ref(&batch)));
    let mut engine = Engine::new(spec).unwrap();
    engine.push(&batch).unwrap();
    let resident = engine.upload(&rows(100, false)).unwrap();
    assert_eq!(engine.analyze_resident(&resident).unwrap().rows, 100);
    assert!(bits(&engine.close().unwrap()) == alone);
    // Rows that were pushed would be counted with grouped ones.
    let mut engine = Engine::new(Spec::new().window(millstream::Window::Rows { size: 9, slide: 9 })).unwrap();
    engine.push(&batch).unwrap();
    let resident = engine.upload(&batch).unwrap();
    assert!(matches!(engine.analyze_resident(&resident), Err(Error::Usage(_))));
}
