//! What is expected of an engine, against the definitions: rational numbers over the rows of the csv, window by window.

use crate::feed_rows::{Row, csv_row, options};
use millstream::generate::{Column, Conservation, Delivery, Expectation, Format, Grid, Options, Question, Target};
use millstream::generate::{generate, verify};
use num_rational::BigRational;
use num_traits::ToPrimitive;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

const MS: i64 = 1_000_000;

/// The expectation as lines of JSON, where the rows went, and the csv that it is about.
fn expected(folder: &Path, options: &Options, question: Question) -> (Vec<Value>, Conservation, Vec<u8>) {
    let (feed, file) = (folder.join("feed.csv"), folder.join("expected.ndjson"));
    let mut expectation = Expectation::create(&file, options, question).unwrap();
    let delivery = Delivery {
        format: Format::Csv,
        ..Delivery::new(Target::File(feed.clone()))
    };
    generate(options, &delivery, Some(&mut expectation)).unwrap();
    let counts = expectation.finish().unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, counts, std::fs::read(feed).unwrap())
}

/// The rows that can be read, and how many cannot.
fn readable(csv: &[u8], columns: usize) -> (Vec<Row>, u64) {
    let lines: Vec<&[u8]> = csv
        .strip_suffix(b"\n")
        .unwrap()
        .split(|b| *b == b'\n')
        .skip(1)
        .collect();
    let read = |line: &&[u8]| csv_row(std::str::from_utf8(line).ok()?).filter(|row| row.values.len() == columns);
    let rows: Vec<Row> = lines.iter().filter_map(read).collect();
    let bad = (lines.len() - rows.len()) as u64;
    (rows, bad)
}

/// The statistics of values by their definitions.
fn by_definition(values: &[Option<f64>]) -> Value {
    let present: Vec<f64> = values.iter().flatten().copied().collect();
    let exact: Vec<BigRational> = present.iter().map(|x| BigRational::from_float(*x).unwrap()).collect();
    let n = BigRational::from_float(present.len() as f64).unwrap();
    let one = BigRational::from_float(1.0).unwrap();
    let sum: BigRational = exact.iter().sum();
    let mean = (!present.is_empty()).then(|| &sum / &n);
    let variance = (present.len() > 1).then(|| {
        let mean = mean.as_ref().unwrap();
        exact.iter().map(|x| (x - mean) * (x - mean)).sum::<BigRational>() / (&n - &one)
    });
    let number = |x: &BigRational| x.to_f64().unwrap();
    let variance = variance.as_ref().map(number);
    json!({
        "count": present.len(), "missing": values.len() - present.len(), "sum": number(&sum),
        "mean": mean.as_ref().map(number), "variance": variance, "std": variance.map(f64::sqrt),
        "min": present.iter().copied().reduce(f64::min), "max": present.iter().copied().reduce(f64::max),
    })
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

/// Every window by going over all rows for it.
fn brute(rows: &[Row], columns: usize, window_ms: Option<(i64, i64)>, lateness_ms: i64) -> (Vec<Value>, u64) {
    let (mut taken, mut late, mut newest) = (Vec::new(), 0, None::<i64>);
    for row in rows {
        // The pane is as long as the greatest time that divides size and slide.
        if let (Some((size, slide)), Some(newest)) = (window_ms, newest) {
            let pane = (1..=slide).rev().find(|p| size % p == 0 && slide % p == 0).unwrap();
            let end = (row.ts.div_euclid(pane) + 1) * pane;
            if end <= newest - lateness_ms {
                late += 1;
                continue;
            }
        }
        newest = newest.max(Some(row.ts));
        taken.push(row);
    }
    let mut cells: BTreeMap<(i64, i64), Vec<&Row>> = BTreeMap::new();
    for row in taken {
        match window_ms {
            None => cells.entry((0, row.key)).or_default().push(row),
            Some((size, slide)) => {
                let last = row.ts.div_euclid(slide);
                let all = (last - size / slide - 1..=last).filter(|k| k * slide <= row.ts && row.ts < k * slide + size);
                all.for_each(|k| cells.entry((k, row.key)).or_default().push(row));
            }
        }
    }
    let report = |((k, key), rows): ((i64, i64), Vec<&Row>)| {
        let column = |c: usize| by_definition(&rows.iter().map(|row| row.values[c]).collect::<Vec<_>>());
        let named = (0..columns).map(|c| (format!("c{c}"), column(c)));
        json!({
            "key": {"key": key},
            "window": window_ms.map(|(size, slide)| json!({"start": time(k * slide), "end": time(k * slide + size)})),
            "rows": rows.len(),
            "columns": named.collect::<serde_json::Map<_, _>>(),
        })
    };
    (cells.into_iter().map(report).collect(), late)
}

#[test]
fn expectations_are_what_the_definitions_say() {
    let folder = tempfile::tempdir().unwrap();
    let base = Options {
        start_ms: 1_767_225_599_900,
        step_ns: MS as u64,
        ..options(2, 2000)
    };
    let hard = |c: usize| Column {
        missing: 0.2,
        ..Column::new(format!("c{c}"), 1e9, 1.0)
    };
    let cases = [
        (base.clone(), None, 0),
        (base.clone(), Some((100, 100)), 0),
        (
            Options {
                disorder_ms: 60,
                ..base.clone()
            },
            Some((50, 50)),
            20,
        ),
        (
            Options {
                disorder_ms: 60,
                ..base.clone()
            },
            Some((100, 30)),
            0,
        ),
        (
            Options {
                disorder_ms: 300,
                bad_rows: 0.1,
                duplicates: 0.1,
                ..base.clone()
            },
            Some((90, 40)),
            55,
        ),
        (
            Options {
                columns: vec![hard(0), hard(1)],
                keys: 100,
                ..base.clone()
            },
            Some((200, 200)),
            0,
        ),
        (
            Options {
                grid: Grid::Decimals(3),
                disorder_ms: 10,
                ..base.clone()
            },
            Some((100, 50)),
            10,
        ),
        (
            Options {
                start_ms: -700,
                rows: 1500,
                ..base.clone()
            },
            Some((300, 200)),
            0,
        ),
    ];
    for (i, (options, window_ms, lateness_ms)) in cases.into_iter().enumerate() {
        let window = window_ms.map(|(size, slide)| (size * MS, slide * MS));
        let question = Question {
            window,
            lateness_ns: lateness_ms * MS,
            ..Question::default()
        };
        let (mut lines, counts, csv) = expected(folder.path(), &options, question);
        let (rows, bad) = readable(&csv, 2);
        let (want, late) = brute(&rows, 2, window_ms, lateness_ms);
        let conservation = lines.pop().unwrap();
        assert_eq!(lines.len(), want.len(), "case {i}");
        for (line, want) in lines.iter().zip(&want) {
            assert_eq!(line, want, "case {i}");
        }
        let aggregated = options.rows - late - bad;
        assert_eq!(
            counts,
            Conservation {
                rows: options.rows,
                aggregated,
                late,
                bad
            },
            "case {i}"
        );
        let parts = json!({"in": options.rows, "aggregated": aggregated, "filtered": 0, "late": late,
            "quarantined": bad, "dropped": 0});
        assert_eq!(conservation, json!({"conservation": parts}), "case {i}");
        assert_eq!(
            late > 0,
            options.disorder_ms > lateness_ms as u64 + 10,
            "case {i}: {late} late rows"
        );
        assert_eq!(bad > 0, options.bad_rows > 0.0, "case {i}");
    }
}

#[test]
fn the_comparison_takes_an_expectation_for_right_and_any_change_for_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let question = Question {
        window: Some((100 * MS, 100 * MS)),
        ..Question::default()
    };
    let (lines, _, _) = expected(folder.path(), &options(2, 500), question);
    let text = |lines: &[Value]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let (all, reports) = (text(&lines), text(&lines[..lines.len() - 1]));
    let verdict = verify::compare(all.as_bytes(), reports.as_bytes()).unwrap();
    assert!(verdict.is_right(), "{:?}", verdict.told);
    let windows_and_keys = lines.len() as u64 - 1;
    assert!(windows_and_keys > 40, "five windows of ten keys");
    assert_eq!(
        (verdict.expected, verdict.reported),
        (windows_and_keys, windows_and_keys)
    );
    let fewer = text(&lines[1..lines.len() - 1]);
    assert_eq!(
        verify::compare(all.as_bytes(), fewer.as_bytes()).unwrap().differences,
        1
    );
    let wrong = reports.replacen("\"count\":", "\"count\":1", 1);
    assert!(!verify::compare(all.as_bytes(), wrong.as_bytes()).unwrap().is_right());
}

#[test]
fn questions_read_as_written() {
    let question = Question::parse(Some("1s"), Some("250ms"), Some("2s")).unwrap();
    assert_eq!(
        question,
        Question {
            window: Some((1000 * MS, 250 * MS)),
            lateness_ns: 2000 * MS,
            ..Question::default()
        }
    );
    assert_eq!(
        Question::parse(Some("unbounded"), None, Some("0s")).unwrap(),
        Question::default()
    );
    for (window, slide) in [(None, Some("1s")), (Some("1s"), Some("2s")), (Some("1000 rows"), None)] {
        assert_eq!(Question::parse(window, slide, None).unwrap_err().exit_code(), 2);
    }
}
