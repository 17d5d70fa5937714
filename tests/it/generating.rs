//! `millstream generate` as it is typed; what `analyze` makes of its feeds is what it expects.

use crate::command::Place;
use crate::feed_rows::{from_arrow, from_binary, from_csv, from_ndjson};
use millstream::generate::verify;

/// The verdict on reports in a file of ndjson.
fn verdict(place: &Place, reports: &[u8]) -> verify::Verdict {
    let expected = std::fs::read(place.path("expected.ndjson")).unwrap();
    verify::compare(&expected[..], reports).unwrap()
}

#[test]
fn analyses_of_feeds_are_as_expected() {
    let place = Place::new();
    let cases: [(&str, &[&str]); 5] = [
        ("feed.csv", &["--columns", "3", "--keys", "20", "--missing", "0.05"]),
        (
            "feed.ndjson",
            &[
                "--columns",
                "2",
                "--keys",
                "5",
                "--decimals",
                "3",
                "--duplicates",
                "0.1",
            ],
        ),
        ("feed.arrow", &["--columns", "4", "--keys", "100", "--zipf", "0"]),
        // Twelve digits of the standard deviation where a sum of squares has none left.
        (
            "feed.csv",
            &["--columns", "2", "--keys", "3", "--mean", "1e9", "--sd", "1"],
        ),
        (
            "feed.arrow",
            &[
                "--column",
                "a:mean=5,sd=0.5,drift=3,step=-40@2s",
                "--column",
                "b",
                "--keys",
                "2",
            ],
        ),
    ];
    for (file, options) in cases {
        for (window, slide) in [("1s", "1s"), ("1s", "300ms")] {
            let question = [
                "--rows",
                "8000",
                "--expect",
                "expected.ndjson",
                "--window",
                window,
                "--slide",
                slide,
            ];
            let outcome = place.run(&[&["generate", "-o", file], &question[..], options].concat());
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
            assert!(outcome.stderr.contains("8000 rows"), "{}", outcome.stderr);
            let asked = [
                "--by",
                "key",
                "--time",
                "ts",
                "--time-unit",
                "ms",
                "--window",
                window,
                "--slide",
                slide,
            ];
            let outcome = place.run(&[&["analyze", file, "--format", "ndjson"], &asked[..]].concat());
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
            let verdict = verdict(&place, &outcome.stdout);
            assert!(verdict.is_right(), "{file} {options:?}: {:#?}", verdict.told);
            assert!(verdict.numbers > 100 && verdict.expected == verdict.reported);
        }
    }
}

#[test]
fn covariances_of_feeds_are_as_expected() {
    let place = Place::new();
    for options in [
        &["--correlation", "0.7"][..],
        &["--correlation", "-0.9", "--mean", "1e6", "--sd", "1"],
    ] {
        let question = [
            "--rows",
            "5000",
            "--columns",
            "6",
            "--keys",
            "10",
            "--window",
            "1s",
            "--covariance",
        ];
        let outcome = place.run(
            &[
                &["generate", "-o", "feed.csv", "--expect", "expected.ndjson"],
                &question[..],
                options,
            ]
            .concat(),
        );
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let asked = [
            "--by",
            "key",
            "--time",
            "ts",
            "--time-unit",
            "ms",
            "--window",
            "1s",
            "--format",
            "ndjson",
        ];
        let with = place.run(&[&["analyze", "feed.csv", "--stats", "moments,covariance"], &asked[..]].concat());
        assert!(
            verdict(&place, &with.stdout).is_right(),
            "{:#?}",
            verdict(&place, &with.stdout).told
        );
        let without = place.run(&[&["analyze", "feed.csv"], &asked[..]].concat());
        assert!(verdict(&place, &without.stdout).told[0].contains("no covariances"));
        let text = String::from_utf8(with.stdout).unwrap();
        let at = text.find("\"matrix\":[[").unwrap() + "\"matrix\":[[".len();
        let wrong = format!("{}1{}", &text[..at], &text[at..]);
        assert_eq!(verdict(&place, wrong.as_bytes()).differences, 1);
    }
}

#[test]
fn standard_output_carries_every_format() {
    let place = Place::new();
    let feed = |format: &str| {
        let outcome = place.run(&[
            "generate",
            "--rows",
            "3e3",
            "--columns",
            "2",
            "--keys",
            "7",
            "--format",
            format,
        ]);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        outcome.stdout
    };
    let rows = from_csv(&feed("csv"));
    assert_eq!(rows.len(), 3000);
    assert!(rows == from_ndjson(&feed("ndjson")) && rows == from_arrow(&feed("arrow")));
    assert!(rows == from_binary(&feed("binary"), 2, 8));
}

#[test]
fn columns_have_names_and_times_a_start() {
    let place = Place::new();
    let feed = |options: &[&str]| place.run(&[&["generate", "--rows", "2", "--sd", "0"], options].concat());
    let outcome = feed(&[
        "--columns",
        "left,right",
        "--mean",
        "-1.5",
        "--start",
        "2026-01-01T00:00:01Z",
        "--step",
        "2s",
    ]);
    assert_eq!(
        outcome.text(),
        "ts,left,right\n1767225601000,-1.5,-1.5\n1767225603000,-1.5,-1.5\n"
    );
    let outcome = feed(&[
        "--column",
        "x:mean=0.25",
        "--column",
        "y:step=1@1ms",
        "--start",
        "-1",
        "--no-header",
    ]);
    assert_eq!(outcome.text(), "-1,0.25,20\n0,0.25,21\n");
}

#[test]
fn a_log_tells_when_rows_went() {
    let place = Place::new();
    let outcome = place.run(&[
        "generate",
        "--rows",
        "9000",
        "-o",
        "feed.bin",
        "--replay",
        "--sent-log",
        "sent.csv",
    ]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let log = std::fs::read_to_string(place.path("sent.csv")).unwrap();
    let lines: Vec<Vec<u64>> = log
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
        .collect();
    assert!(log.starts_with("rows,begun_ns,taken_ns\n") && lines.last().unwrap()[0] == 9000);
    assert!(lines.iter().all(|line| line.len() == 3 && line[1] <= line[2]));
    assert_eq!(place.names(), ["feed.bin", "sent.csv"]);
}

#[test]
fn a_replay_rests_before_it_goes() {
    let place = Place::new();
    let begun = std::time::SystemTime::now();
    let outcome = place.run(&[
        "generate",
        "--rows",
        "10",
        "-o",
        "feed.csv",
        "--replay",
        "--rest",
        "300ms",
        "--sent-log",
        "sent.csv",
    ]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let log = std::fs::read_to_string(place.path("sent.csv")).unwrap();
    let first = log.lines().nth(1).and_then(|line| line.split(',').nth(1)).unwrap();
    let went = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(first.parse().unwrap());
    assert!(went.duration_since(begun).unwrap() >= std::time::Duration::from_millis(300));
}

#[test]
fn what_is_asked_wrongly_is_named() {
    let place = Place::new();
    place.write("token", "secret\n");
    for (status, named, options) in [
        (2, "--to", &["--to", "tcp://nowhere"][..]),
        (2, "--replay", &["--rest", "1s"]),
        (2, "--rows", &["--rows", "five"]),
        (2, "--column `x:width=3`", &["--column", "x:width=3"]),
        (2, "two columns `c`", &["--columns", "c,c"]),
        (2, "--bad-rows", &["--bad-rows", "0.5", "--format", "arrow"]),
        (2, "--keys", &["--keys", "1e9"]),
        (2, "--start", &["--start", "yesterday"]),
        (2, "not a duration", &["--step", "10"]),
        (2, "--expect", &["--window", "1s"]),
        (
            2,
            "--covariance",
            &["--expect", "e", "--covariance", "--missing", "0.1"],
        ),
        (2, "f32", &["--values", "f32", "--decimals", "2"]),
        (
            2,
            "-o token is the input token",
            &["--token-file", "token", "-o", "token"],
        ),
        (2, "--expect", &["-o", "same", "--expect", "same"]),
        (
            66,
            "nowhere",
            &["--token-file", "nowhere", "--to", "http://127.0.0.1:1/"],
        ),
        (74, "nowhere/feed", &["-o", "nowhere/feed"]),
        (74, "tcp://127.0.0.1:1", &["--to", "tcp://127.0.0.1:1"]),
    ] {
        let outcome = place.run(&[&["generate"], options].concat());
        assert_eq!(outcome.status, status, "{options:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(named), "{options:?}: {}", outcome.stderr);
        assert!(outcome.stdout.is_empty() && !outcome.stderr.contains("secret"));
    }
    assert_eq!(place.names(), ["token"]);
}
