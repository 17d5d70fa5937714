//! The thread that drives the device: it submits, waits, and reads what comes back.

use super::super::device::{Counters, Device};
use super::super::finish::Answers;
use super::super::load::Job;
use super::super::pack::Packer;
use super::super::resident::{Copy, KeptPiece};
use super::super::stage::{Stage, Upload};
use super::super::{Moment, Options};
use super::{Answer, State, Submission};
use crate::error::{Error, Result};
use crossbeam::channel::{Receiver, Sender};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The thread of the device looks for new submissions so often while it waits for an answer.
const LOOK_AROUND: Duration = Duration::from_micros(500);

/// What the device has.
struct Flight {
    stage: Box<Stage>,
    index: wgpu::SubmissionIndex,
    since: Instant,
    uploads: bool,
    /// What becomes of it.
    cargo: Cargo,
}

enum Cargo {
    Run,
    Keep(Vec<KeptPiece>, Arc<Copy>),
    Again(Arc<Job>, Arc<Copy>),
}

/// The thread that drives the device.
pub(super) struct Driving {
    device: Arc<Device>,
    options: Options,
    state: Arc<State>,
    release: Sender<Box<Stage>>,
    answers: Sender<Answer>,
    flights: VecDeque<Flight>,
    /// Makes tables for rows that stay on the device.
    packer: Packer,
    /// When the last answer came.
    landed: Instant,
}

impl Driving {
    pub(super) fn new(
        device: Arc<Device>,
        options: &Options,
        state: &Arc<State>,
        release: Sender<Box<Stage>>,
        answers: Sender<Answer>,
    ) -> Self {
        let divides = device.adapter.probe.as_ref().is_some_and(|probe| probe.division);
        Self {
            device,
            options: options.clone(),
            state: state.clone(),
            release,
            answers,
            flights: VecDeque::new(),
            packer: Packer::new(divides),
            landed: state.start,
        }
    }

    pub(super) fn run(mut self, submissions: Receiver<Submission>) {
        // wgpu panics where it polls a device that is lost.
        let ended = catch_unwind(AssertUnwindSafe(|| self.drive(&submissions)));
        self.state.driving.end();
        let why = match ended {
            Ok(Ok(())) => return,
            Ok(Err(e)) => e.to_string(),
            Err(_) => "the driver failed".to_owned(),
        };
        self.device.give_up(&why);
        let why = self.device.failure().unwrap_or(why);
        // Whoever waits hears it; nobody does where the ring is being dropped.
        let _ = self.answers.send(Answer::Lost(why));
        // The packer, which may wait for this, hears it now: what is still to be dropped may take its time.
        drop(submissions);
    }

    fn drive(&mut self, submissions: &Receiver<Submission>) -> Result<()> {
        while !self.state.is_closing() {
            let next = if self.flights.is_empty() {
                self.state.driving.end();
                match submissions.recv() {
                    Ok(submission) => Some(submission),
                    Err(_) => return Ok(()),
                }
            } else {
                submissions.try_recv().ok()
            };
            self.state.driving.begin(self.state.start);
            match next {
                Some(submission) => self.submit(submission)?,
                None => self.wait()?,
            }
            self.land()?;
        }
        Ok(())
    }

    fn see(&self, moment: Moment) -> bool {
        self.options.watch.as_ref().is_none_or(|watch| watch(moment))
    }

    fn submit(&mut self, submission: Submission) -> Result<()> {
        match submission {
            Submission::Run(stage) => self.fly(stage, Upload::All, Cargo::Run),
            Submission::Keep(stage, pieces, copy) => self.fly(stage, Upload::All, Cargo::Keep(pieces, copy)),
            Submission::Kept(copy, reply) => {
                self.land_all()?;
                let _ = reply.send(Ok(copy));
                Ok(())
            }
            Submission::Again(job, copy) => {
                // Its stages may be on their way already.
                self.land_all()?;
                self.again(&job, &copy)
            }
        }
    }

    fn again(&mut self, job: &Arc<Job>, copy: &Arc<Copy>) -> Result<()> {
        let (upload, stages) = match copy.take(&job.work.shape) {
            Some(stages) if job.work.weights.is_some() => (Upload::Weights, Ok(stages)),
            Some(stages) => (Upload::Nothing, Ok(stages)),
            None => {
                let state = &self.state;
                let busy = |with_device| match with_device {
                    true => state.driving.begin(state.start),
                    false => state.driving.end(),
                };
                let made = copy.tabulate(&self.device, &mut self.packer, job, &self.options, &busy);
                busy(true);
                (Upload::All, made)
            }
        };
        let stages = match stages {
            Ok(stages) => stages,
            Err(e) => {
                // No room for the tables: a matter of this work alone.
                let (seq, why) = (job.seq, e.to_string());
                let _ = self.answers.send(Answer::Failed { seq, why });
                return Ok(());
            }
        };
        for mut stage in stages {
            if let (Some(loss), Some(weights), Upload::Weights) = (&job.work.shape.loss, &job.work.weights, upload) {
                stage.set_weights(|load| load.set_weights(loss, weights))?;
            }
            stage.number = self.device.counters.number();
            self.fly(Box::new(stage), upload, Cargo::Again(job.clone(), copy.clone()))?;
        }
        Ok(())
    }

    fn fly(&mut self, mut stage: Box<Stage>, upload: Upload, cargo: Cargo) -> Result<()> {
        let runs = !matches!(cargo, Cargo::Keep(..));
        self.see(Moment::Submitting(stage.number));
        let index = stage.submit(&self.device, upload, runs);
        self.see(Moment::Submitted(stage.number));
        self.flights.push_back(Flight {
            stage,
            index,
            since: Instant::now(),
            uploads: upload != Upload::Nothing,
            cargo,
        });
        self.check()
    }

    /// An error if the device is lost.
    fn check(&self) -> Result<()> {
        match self.device.failure() {
            Some(why) => Err(Error::Failed(why)),
            None => Ok(()),
        }
    }

    /// Waits for the oldest, but not for long: there may be more to submit.
    fn wait(&self) -> Result<()> {
        let Some(oldest) = self.flights.front() else {
            return Ok(());
        };
        let polled = self.device.device.poll(wgpu::PollType::Wait {
            submission_index: Some(oldest.index.clone()),
            timeout: Some(LOOK_AROUND),
        });
        self.check()?;
        match polled {
            Ok(_) | Err(wgpu::PollError::Timeout) => {}
            Err(e) => return Err(Error::Failed(format!("the device does not answer: {e}"))),
        }
        if oldest.since.max(self.landed).elapsed() > self.options.timeout {
            return Err(Error::Failed(format!(
                "the device has not answered for {} s",
                self.options.timeout.as_secs_f64()
            )));
        }
        Ok(())
    }

    /// Takes back what has been answered, oldest first.
    fn land(&mut self) -> Result<()> {
        while let Some(oldest) = self.flights.front() {
            let runs = !matches!(oldest.cargo, Cargo::Keep(..));
            if !oldest.stage.answered(oldest.uploads, runs)? || !self.see(Moment::Answered(oldest.stage.number)) {
                return Ok(());
            }
            if let Some(flight) = self.flights.pop_front() {
                self.landed(flight)?;
                self.landed = Instant::now();
            }
        }
        Ok(())
    }

    fn land_all(&mut self) -> Result<()> {
        while !self.flights.is_empty() {
            if self.state.is_closing() {
                return Err(Error::Failed("nobody waits for it".into()));
            }
            self.state.driving.begin(self.state.start);
            self.wait()?;
            self.land()?;
        }
        Ok(())
    }

    fn landed(&mut self, flight: Flight) -> Result<()> {
        let Flight { mut stage, cargo, .. } = flight;
        if let Cargo::Keep(pieces, copy) = cargo {
            copy.put_data(stage.data().clone(), pieces);
            return Ok(());
        }
        let number = stage.number;
        let output = stage.output()?;
        if let Some((start_ns, end_ns)) = stage.times_ns(&self.device, &output) {
            self.see(Moment::Computed {
                number,
                start_ns,
                end_ns,
            });
        }
        let answers = Answers {
            load: &stage.load,
            at: &stage.at,
            bytes: &output,
        };
        let again = match &cargo {
            Cargo::Again(job, _) => Some(job),
            _ => None,
        };
        // The host may have much to do here, for which the device is not to blame.
        self.state.driving.end();
        for piece in &stage.load.pieces {
            let (summary, on_host) = answers.summary(piece, again.map_or(&piece.job, |job| job));
            Counters::add(&self.device.counters.host_blocks, u64::from(on_host));
            let answer = Answer::Piece {
                seq: again.map_or(piece.job.seq, |job| job.seq),
                block: piece.block,
                number: piece.number,
                of: piece.of,
                summary,
            };
            // Nobody hears it where the ring is being dropped.
            let _ = self.answers.send(answer);
        }
        self.state.driving.begin(self.state.start);
        drop(output);
        stage.release();
        stage.map()?;
        self.see(Moment::Read(number));
        match cargo {
            Cargo::Again(job, copy) => copy.put(&job.work.shape, *stage),
            _ => {
                stage.load.clear();
                let _ = self.release.send(stage);
            }
        }
        Ok(())
    }
}
