//! Synthetic feeds: the same rows in every format, and the laws that they were asked to follow.

use crate::feed_rows::{Row, bytes, csv_row, from_arrow, from_binary, from_csv, from_ndjson, options};
use millstream::generate::{Column, Format, Grid, Options};

fn rows(options: &Options) -> Vec<Row> {
    from_binary(&bytes(options, Format::Binary), options.columns.len(), 8)
}

/// The values of a column that are there.
fn column(rows: &[Row], c: usize) -> Vec<f64> {
    rows.iter().filter_map(|row| row.values[c]).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let (p, q) = (mean(a), mean(b));
    a.iter().zip(b).map(|(x, y)| (x - p) * (y - q)).sum::<f64>() / a.len() as f64
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_other_ones() {
    for format in [Format::Csv, Format::Ndjson, Format::Arrow, Format::Binary] {
        let feed = |seed| {
            bytes(
                &Options {
                    seed,
                    ..options(3, 5000)
                },
                format,
            )
        };
        assert!(feed(7) == feed(7), "{format:?}");
        assert!(feed(7) != feed(8), "{format:?}");
    }
}

#[test]
fn every_format_carries_the_same_rows() {
    let everything = Options {
        disorder_ms: 50,
        duplicates: 0.05,
        correlation: 0.5,
        step_ns: 300_000,
        ..options(5, 12_345)
    };
    for grid in [
        Grid::Fraction(10),
        Grid::Fraction(0),
        Grid::Decimals(3),
        Grid::Decimals(7),
    ] {
        for missing in [0.0, 0.1] {
            let mut options = Options {
                grid,
                ..everything.clone()
            };
            options.columns.iter_mut().for_each(|c| c.missing = missing);
            options.columns[2] = Column {
                missing,
                ..Column::new("c2", -1000.0, 0.01)
            };
            let csv = from_csv(&bytes(&options, Format::Csv));
            assert_eq!(csv.len(), 12_345);
            assert_eq!(csv.iter().any(|row| row.values.contains(&None)), missing > 0.0);
            assert!(from_ndjson(&bytes(&options, Format::Ndjson)) == csv, "ndjson, {grid:?}");
            assert!(from_arrow(&bytes(&options, Format::Arrow)) == csv, "arrow, {grid:?}");
            assert!(
                from_binary(&bytes(&options, Format::Binary), 5, 8) == csv,
                "binary, {grid:?}"
            );
        }
    }
}

#[test]
fn narrow_values_are_the_same_in_every_format() {
    let mut options = Options {
        single: true,
        ..options(2, 3000)
    };
    // 2^24 and more: what f32 does not hold has to be rounded everywhere.
    options.columns[1] = Column::new("c1", 5e7, 1e4);
    let csv = from_csv(&bytes(&options, Format::Csv));
    assert!(column(&csv, 1).iter().all(|x| f64::from(*x as f32) == *x));
    assert_eq!(from_arrow(&bytes(&options, Format::Arrow)), csv);
    assert_eq!(from_binary(&bytes(&options, Format::Binary), 2, 4), csv);
}

#[test]
fn fewer_rows_are_the_beginning_of_more() {
    let longer = rows(&Options {
        duplicates: 0.1,
        disorder_ms: 9,
        ..options(2, 5000)
    });
    for n in [1usize, 1023, 1024, 1025, 4999] {
        let shorter = rows(&Options {
            duplicates: 0.1,
            disorder_ms: 9,
            ..options(2, n as u64)
        });
        assert!(shorter == longer[..n], "{n} rows");
    }
    assert_eq!(bytes(&options(1, 0), Format::Csv), b"ts,key,c0\n");
    assert_eq!(bytes(&options(1, 0), Format::Binary), b"");
}

#[test]
fn what_else_is_asked_for_does_not_change_the_values() {
    let plain = rows(&options(2, 3000));
    let values = |options| rows(&options).into_iter().map(|row| row.values).collect::<Vec<_>>();
    let same: Vec<_> = plain.iter().map(|row| row.values.clone()).collect();
    assert_eq!(
        values(Options {
            disorder_ms: 100,
            keys: 3,
            zipf: 2.0,
            start_ms: 0,
            ..options(2, 3000)
        }),
        same
    );
}

#[test]
fn values_follow_their_laws() {
    const N: usize = 200_000;
    let columns = vec![
        Column::new("a", 20.0, 2.0),
        Column::new("b", -5.0, 10.0),
        Column {
            missing: 0.25,
            ..Column::new("c", 0.0, 1.0)
        },
    ];
    let feed = rows(&Options {
        columns,
        correlation: 0.6,
        ..options(3, N as u64)
    });
    for (c, (want, sd)) in [(20.0, 2.0), (-5.0, 10.0), (0.0, 1.0)].into_iter().enumerate() {
        let values = column(&feed, c);
        let n = values.len() as f64;
        // Five standard errors; the grid adds a variance of 2^-20 / 12, far below them.
        assert!(
            (mean(&values) - want).abs() < 5.0 * sd / n.sqrt(),
            "mean of column {c}: {}",
            mean(&values)
        );
        let found = covariance(&values, &values).sqrt();
        assert!(
            (found - sd).abs() < 5.0 * sd / (2.0 * n).sqrt(),
            "sd of column {c}: {found}"
        );
    }
    let (a, b) = (column(&feed, 0), column(&feed, 1));
    let found = covariance(&a, &b) / (covariance(&a, &a) * covariance(&b, &b)).sqrt();
    // The standard error of a correlation is (1 − r²) / √n.
    assert!((found - 0.6).abs() < 5.0 * 0.64 / (N as f64).sqrt(), "{found}");
    let missing = N - column(&feed, 2).len();
    assert!(
        (missing as f64 - 50_000.0).abs() < 5.0 * (N as f64 * 0.25 * 0.75).sqrt(),
        "{missing}"
    );
    // Rows are independent: neighbours do not correlate.
    let found = covariance(&a[1..], &a[..N - 1]) / covariance(&a, &a);
    assert!(found.abs() < 5.0 / (N as f64).sqrt(), "{found}");

    let feed = rows(&Options {
        correlation: -0.4,
        ..options(3, N as u64)
    });
    for (i, j, want) in [(0, 1, -0.4), (1, 2, -0.4), (0, 2, 0.4)] {
        let (a, b) = (column(&feed, i), column(&feed, j));
        let found = covariance(&a, &b) / (covariance(&a, &a) * covariance(&b, &b)).sqrt();
        assert!(
            (found - want).abs() < 5.0 * 0.84 / (N as f64).sqrt(),
            "{i} {j}: {found}"
        );
    }
}

#[test]
fn keys_follow_zipfs_law() {
    const N: u64 = 100_000;
    let feed = rows(&Options {
        keys: 50,
        zipf: 1.2,
        ..options(1, N)
    });
    let total: f64 = (1..=50).map(|k| f64::from(k).powf(-1.2)).sum();
    let mut counts = [0u32; 50];
    feed.iter().for_each(|row| counts[row.key as usize] += 1);
    for (k, count) in counts.into_iter().enumerate() {
        let want = ((k + 1) as f64).powf(-1.2) / total * N as f64;
        assert!(
            (f64::from(count) - want).abs() < 5.0 * want.sqrt() + 1.0,
            "key {k}: {count}, not {want}"
        );
    }
}

#[test]
fn drift_and_steps_move_the_mean() {
    // 20 000 rows of a millisecond: 20 seconds, a step down after ten.
    let moving = Column {
        drift: 0.5,
        steps: vec![(-100.0, 10_000_000_000)],
        ..Column::new("c0", 3.0, 0.0)
    };
    let feed = rows(&Options {
        columns: vec![moving],
        ..options(1, 20_000)
    });
    for (i, row) in feed.iter().enumerate() {
        let want = 3.0 + 0.5 * i as f64 / 1000.0 - if i < 10_000 { 0.0 } else { 100.0 };
        assert!((row.values[0].unwrap() - want).abs() <= 1.0 / 2048.0, "row {i}");
    }
}

#[test]
fn times_advance_by_the_step_and_disorder_stays_within_its_bound() {
    let even = rows(&Options {
        step_ns: 1_500_000,
        start_ms: 1000,
        ..options(1, 3000)
    });
    assert!(
        even.iter()
            .enumerate()
            .all(|(i, row)| row.ts == 1000 + (i as i64 * 3) / 2)
    );
    let late = rows(&Options {
        step_ns: 1_500_000,
        start_ms: 1000,
        disorder_ms: 40,
        ..options(1, 3000)
    });
    let mut newest = i64::MIN;
    let mut delays = std::collections::BTreeSet::new();
    for (even, late) in even.iter().zip(&late) {
        delays.insert(even.ts - late.ts);
        newest = newest.max(late.ts);
        assert!(newest - late.ts <= 40, "behind the newest by {}", newest - late.ts);
    }
    assert_eq!(delays.into_iter().collect::<Vec<_>>(), (0..=40).collect::<Vec<_>>());
}

#[test]
fn duplicates_repeat_the_row_before() {
    const N: usize = 20_000;
    let feed = rows(&Options {
        duplicates: 0.2,
        ..options(3, N as u64)
    });
    let repeated = feed.windows(2).filter(|pair| pair[0] == pair[1]).count();
    // Three values of 24 bits each are not drawn twice by chance.
    assert!(
        (repeated as f64 - 4000.0).abs() < 5.0 * (N as f64 * 0.2 * 0.8).sqrt(),
        "{repeated}"
    );
}

#[test]
fn bad_rows_cannot_be_read_and_the_others_are_as_without_them() {
    const N: usize = 20_000;
    let good = from_csv(&bytes(&options(3, N as u64), Format::Csv));
    let bad = Options {
        bad_rows: 0.1,
        ..options(3, N as u64)
    };
    let text = bytes(&bad, Format::Csv);
    let lines: Vec<&[u8]> = text
        .strip_suffix(b"\n")
        .unwrap()
        .split(|b| *b == b'\n')
        .skip(1)
        .collect();
    assert_eq!(lines.len(), N);
    let read = |line: &[u8]| {
        let row = csv_row(std::str::from_utf8(line).ok()?)?;
        (row.values.len() == 3).then_some(row)
    };
    let mut spoiled = 0;
    for (line, good) in lines.iter().zip(&good) {
        match read(line) {
            Some(row) => assert_eq!(&row, good),
            None => spoiled += 1,
        }
    }
    assert!(
        read(lines[0]).is_some(),
        "the first row tells a reader what the columns are"
    );
    assert!(
        (f64::from(spoiled) - 2000.0).abs() < 5.0 * (N as f64 * 0.09).sqrt(),
        "{spoiled}"
    );
    for kind in [&b"#REF!"[..], b"yesterday", b"\xff\xfe"] {
        assert!(lines.iter().any(|line| line.windows(kind.len()).any(|w| w == kind)));
    }

    let text = bytes(&bad, Format::Ndjson);
    let number = |value: &serde_json::Value| value.is_number();
    let read = |line: &[u8]| -> Option<()> {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
        (object.len() == 5 && object.values().all(number)).then_some(())
    };
    let lines = text.strip_suffix(b"\n").unwrap().split(|b| *b == b'\n');
    assert_eq!(lines.filter(|line| read(line).is_none()).count() as i32, spoiled);
}

#[test]
fn a_line_of_csv_reads_as_a_row() {
    assert_eq!(csv_row("5,1,2.5,").unwrap().values, [Some(2.5), None]);
    assert!(csv_row("5,1,x").is_none() && csv_row("5").is_none() && csv_row("yesterday,1,2.5").is_none());
}
