//! What the tests of rows over HTTP share: sources on this machine, and reading them with a deadline.

use crate::feed_support;
use crate::http_client::DEADLINE;
use arrow::array::Float64Array;
use millstream::io::http::{HttpOptions, HttpSource};
use millstream::io::live::{Context, WireFormat};
use millstream::io::tls::Security;
use millstream::io::{Position, Read, Source};
use std::net::SocketAddr;
use std::time::Instant;

pub(crate) fn context() -> Context {
    feed_support::context(feed_support::wire(WireFormat::Csv))
}

pub(crate) fn loopback(security: Security) -> HttpOptions {
    HttpOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        security,
    }
}

pub(crate) fn open(context: &Context) -> HttpSource {
    HttpSource::open(context, loopback(Security::default()), None).unwrap()
}

/// What has come: values row by row, how many were rejected, and the last position.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) rows: Vec<Vec<f64>>,
    pub(crate) rejected: u64,
    pub(crate) position: Position,
}

impl Seen {
    pub(crate) fn take(&mut self, read: Read) -> bool {
        let Read::Batch(rows, position) = read else {
            return false;
        };
        assert!(rows.arrived_ns.is_some());
        let columns: Vec<&Float64Array> = rows
            .batch
            .columns()
            .iter()
            .map(|column| column.as_any().downcast_ref().unwrap())
            .collect();
        for row in 0..rows.batch.num_rows() {
            self.rows.push(columns.iter().map(|column| column.value(row)).collect());
        }
        self.rejected += rows.rejected.len() as u64;
        if self.position.rows > 0 {
            let count = rows.batch.num_rows() + rows.rejected.len();
            assert_eq!(position.rows, self.position.rows + count as u64);
        }
        self.position = position;
        true
    }
}

/// Reads until so many rows have come.
pub(crate) fn read(source: &mut HttpSource, count: usize) -> Seen {
    let (mut seen, until) = (Seen::default(), Instant::now() + DEADLINE);
    while seen.rows.len() + (seen.rejected as usize) < count {
        seen.take(source.read().unwrap());
        assert!(Instant::now() < until, "{seen:?}");
    }
    seen
}

/// Tells the source to stop, and reads what is left.
pub(crate) fn end(context: &Context, source: &mut HttpSource) -> Seen {
    context.stop.stop();
    let (mut seen, until) = (Seen::default(), Instant::now() + DEADLINE);
    loop {
        match source.read().unwrap() {
            Read::End => return seen,
            read => drop(seen.take(read)),
        }
        assert!(Instant::now() < until, "{seen:?}");
    }
}
