//! The threads that decode bodies and hand their rows on, away from the one that waits for clients.

use super::ROOM_WAIT;
use super::body::{Bodies, Encoding, Undecoded, bytes_of};
use crate::error::Error;
use crate::io::Rows;
use crate::io::budget::Share;
use crate::io::journal::{Answer, Appender, Pending, Refused};
use crate::io::live::WireFormat;
use crossbeam::channel::{Receiver, SendTimeoutError, Sender};
use tokio::sync::oneshot;

/// A body on its way to become rows.
pub(super) struct Job {
    pub(super) source: String,
    pub(super) format: WireFormat,
    pub(super) encoding: Encoding,
    pub(super) body: Vec<u8>,
    pub(super) share: Share,
    /// The key that came with it.
    pub(super) pending: Option<Pending>,
    pub(super) reply: oneshot::Sender<Reply>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Reply {
    /// Its rows are taken, and on disk where there is a journal.
    Taken(Answer),
    /// Too much waits.
    Full,
    /// The feed ends.
    Ending,
    /// It cannot be read.
    Unreadable(Error),
    /// The journal cannot be written.
    NotDurable(String),
}

/// Where rows go.
#[derive(Clone)]
pub(super) enum Outlet {
    Channel(Sender<(Rows, Share)>),
    Journal(Appender),
}

impl Outlet {
    /// Whether nothing more is taken at the moment.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Channel(channel) => channel.is_full(),
            Self::Journal(journal) => journal.is_full(),
        }
    }
}

/// Decodes what comes until nothing more can.
pub(super) fn run(jobs: &Receiver<Job>, bodies: &Bodies, outlet: &Outlet) {
    for job in jobs {
        work(job, bodies, outlet);
    }
}

fn work(job: Job, bodies: &Bodies, outlet: &Outlet) {
    let Job {
        source,
        format,
        encoding,
        body,
        mut share,
        pending,
        reply,
    } = job;
    let mut room = |bytes| share.resize(bytes, ROOM_WAIT);
    let rows = match bodies.decode(&source, format, encoding, &body, &mut room) {
        Ok(rows) => rows,
        Err(why) => {
            drop(share);
            let reply_with = match why {
                Undecoded::NoRoom => Reply::Full,
                Undecoded::Unreadable(e) => Reply::Unreadable(e),
            };
            return refuse(pending, reply, reply_with);
        }
    };
    drop(body);
    let answer = Answer {
        accepted: rows.batch.num_rows() as u64,
        rejected: rows.rejected_count(),
    };
    if answer.accepted + answer.rejected == 0 {
        drop(share);
        return accept(pending, reply, answer);
    }
    match outlet {
        Outlet::Channel(channel) => {
            if !share.try_resize(bytes_of(&rows.batch)) {
                drop(share);
                return refuse(pending, reply, Reply::Full);
            }
            match channel.send_timeout((rows, share), ROOM_WAIT) {
                Ok(()) => accept(pending, reply, answer),
                Err(SendTimeoutError::Timeout(back)) => {
                    drop(back);
                    refuse(pending, reply, Reply::Full);
                }
                Err(SendTimeoutError::Disconnected(_)) => refuse(pending, reply, Reply::Ending),
            }
        }
        Outlet::Journal(journal) => {
            // It has a bound of its own.
            drop(share);
            let (sender, receiver) = crossbeam::channel::bounded(1);
            // Kept where a refusal can still be told.
            let _ = sender.send(reply);
            let reply = receiver.clone();
            let done = Box::new(move |result: Result<_, String>| {
                if let Ok(reply) = reply.try_recv() {
                    let what = match result {
                        Ok(_) => Reply::Taken(answer),
                        Err(why) => Reply::NotDurable(why),
                    };
                    let _ = reply.send(what);
                }
            });
            let refused = match journal.try_append(rows, pending, done) {
                Ok(()) => return,
                Err(Refused::Full) => Reply::Full,
                Err(Refused::Closed) => Reply::Ending,
                Err(Refused::Unfit(e)) => Reply::Unreadable(e),
            };
            if let Ok(reply) = receiver.try_recv() {
                refuse(None, reply, refused);
            }
        }
    }
}

/// The rows are taken: their key is known before anyone is told.
fn accept(pending: Option<Pending>, reply: oneshot::Sender<Reply>, answer: Answer) {
    if let Some(pending) = pending {
        pending.done(answer);
    }
    // Who asked may be gone, which changes nothing for the rows.
    let _ = reply.send(Reply::Taken(answer));
}

/// The rows are not taken: their key is forgotten before anyone is told, and their share given back by then, so that they
/// may come again at once.
fn refuse(pending: Option<Pending>, reply: oneshot::Sender<Reply>, why: Reply) {
    drop(pending);
    let _ = reply.send(why);
}
