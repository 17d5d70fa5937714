//! Stored summaries whose checksum is right and whose content is not: an error, or a summary that merges and reports
//! without a panic.

use crate::support::{batch, closed};
use millstream::report::build;
use millstream::{Closed, Merge, Spec, Summary};

fn spec() -> Spec {
    let spec = Spec::new().covariance().correlation().differences();
    spec.quantiles(&[0.0, 0.3, 1.0]).regression("y", &["x"])
}

fn stored(rows: usize) -> Vec<u8> {
    let x: Vec<f64> = (0..rows).map(|i| (i * i % 97) as f64 - 20.0).collect();
    let y: Vec<f64> = x.iter().map(|x| 2.0 * x + 1.0).collect();
    closed(&spec(), &[batch(&[("x", &x), ("y", &y)])])[0].summary.to_bytes()
}

/// The body with the checksum that belongs to it.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut bytes = body.to_vec();
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    bytes
}

#[test]
fn nonsense_never_panics() {
    let names = ["x".to_string(), "y".to_string()];
    // Few values, so that all bytes are tried; more than 256, so that there are sketches.
    for rows in [5, 300] {
        let whole = stored(rows);
        let body = &whole[..whole.len() - 4];
        assert_eq!(sealed(body), whole, "the checksum is that of the body");
        let mut read = 0;
        for place in 6..body.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xf0, 0xff] {
                let mut wrong = body.to_vec();
                wrong[place] = value;
                let Ok(mut summary) = Summary::from_bytes(&sealed(&wrong)) else {
                    continue;
                };
                read += 1;
                let again = summary.clone();
                summary.merge(&again);
                let closed = Closed::new(None, None, summary);
                let report = build::report(&spec(), &names, [closed]);
                assert!(report.groups[0].columns.len() <= 2);
            }
        }
        assert!(read > 1000, "{read} of them still are summaries");
    }
}
