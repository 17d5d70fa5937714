//! What the command refuses: wrong usage (2), outputs that cannot be written (74), limits and what is not there (1);
//! and that a run that failed leaves nothing behind.

use crate::command::Place;
use serde_json::Value;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// A place with `table.csv`: t (seconds), a, b and the text k; 300 rows.
fn place() -> Place {
    let place = Place::new();
    let rows: String = (0..300)
        .map(|i| format!("{i},{},{}.5,{}\n", i * 7 % 13, i * i, ["x", "y"][i % 2]))
        .collect();
    place.write("table.csv", format!("t,a,b,k\n{rows}"));
    place
}

#[test]
fn wrong_usage_names_what_is_wrong() {
    let place = place();
    let wrong: &[(&[&str], &[&str])] = &[
        (&["--columns", "zz"], &["`zz`", "a, b"]),
        (&["--columns", "a,a"], &["`a`", "twice"]),
        (&["--columns", "k"], &["`k`", "not numeric"]),
        (&["--columns", "\"a"], &["\"a", "quote"]),
        (&["--by", "zz"], &["`zz`"]),
        (&["--time", "zz"], &["`zz`"]),
        (&["--where", "zz > 1"], &["`zz`"]),
        (&["--where", "a >"], &["a >"]),
        (&["--where", "a = 9007199254740993"], &["9007199254740993", "rounded"]),
        (&["--time", "t", "--columns", "t,a"], &["`t`", "event time"]),
        (&["--where", "a + 1"], &["a + 1", "true or false"]),
        (&["--where", "k > 1 and"], &["k > 1 and"]),
        (&["--where", "frobnicate(a) > 1"], &["frobnicate"]),
        (&["--define", "q = zz + 1"], &["`zz`"]),
        (&["--define", "q"], &["`q`", "="]),
        (&["--define", "q ="], &["empty"]),
        (&["--define", "q = a >"], &["a >"]),
        (&["--define", "a = b"], &["`a`", "already"]),
        (&["--define", "q = k"], &["k", "number"]),
        (&["--regress", "zz ~ a"], &["`zz`"]),
        (&["--regress", "b ~ zz"], &["`zz`"]),
        (&["--regress", "b ~"], &["b ~", "y ~ x1"]),
        (&["--regress", "b"], &["`b`", "y ~ x1"]),
        (&["--regress", "b ~ b"], &["`b`", "as a term"]),
        (&["--regress", "b ~ a", "--ridge=-1"], &["ridge", "-1"]),
        (&["--regress", "b ~ a", "--ridge", "NaN"], &["ridge", "NaN"]),
        (&["--ridge", "1"], &["--regress"]),
        (&["--save-model", "m.json"], &["--regress"]),
        (&["--window", "10s"], &["--time"]),
        (&["--slide", "10s"], &["--window"]),
        (&["--time", "t", "--window", "banana"], &["`banana`", "10s"]),
        (&["--time", "t", "--window", "10"], &["`10`", "10s"]),
        (&["--time", "t", "--window", "0s"], &["`0s`"]),
        (&["--window", "0 rows"], &["window"]),
        (&["--window", "x rows"], &["`x rows`"]),
        (&["--window", "10 rows", "--slide", "1s"], &["slide"]),
        (&["--window", "10 rows", "--slide", "20 rows"], &["slide"]),
        (
            &["--time", "t", "--window", "1d", "--slide", "1ms"],
            &["86400000 panes", "10000", "slide"],
        ),
        (&["--quantiles", "1.5"], &["1.5", "between 0 and 1"]),
        (&["--quantiles=-0.1"], &["-0.1", "between 0 and 1"]),
        (&["--quantiles", "NaN"], &["NaN", "between 0 and 1"]),
        (&["--quantiles", "half"], &["half", "--quantiles"]),
        (&["--stats", "median"], &["median", "quantiles"]),
        (&["--ddof", "2"], &["--ddof", "2"]),
        (&["--bad-rows", "maybe"], &["maybe", "quarantine=FILE"]),
        (&["--bad-rows", "quarantine="], &["quarantine=FILE"]),
        (&["--threads", "0"], &["--threads", "0"]),
        (&["--max-memory", "1XiB"], &["`1XiB`", "512MiB"]),
        (&["--input-format", "xml"], &["xml", "csv"]),
        (&["--format", "xml"], &["xml", "json"]),
        (&["-o", "report.xyz"], &["report.xyz", "--format"]),
        (&["--differences-output", "d.txt"], &["d.txt", ".csv or .parquet"]),
        (&["--nonsense"], &["--nonsense", "--help"]),
        (&["-", "-"], &["-", "once"]),
    ];
    for (args, parts) in wrong {
        let outcome = place.run(&[&["analyze", "table.csv"], *args].concat());
        assert_eq!(outcome.status, 2, "{args:?}: {}", outcome.stderr);
        outcome.fails(2, parts);
    }
    place.run(&["analyze"]).fails(2, &["INPUT", "--help"]);
    place.run(&["frobnicate"]).fails(2, &["frobnicate", "--help"]);
    place.write("table.xyz", "a\n1\n");
    place
        .run(&["analyze", "table.xyz"])
        .fails(2, &["table.xyz", "--input-format", "looks like text"]);
    place
        .run(&["analyze", place.write("table", "PAR1\x15")])
        .fails(2, &["table", "--input-format", "looks like a Parquet file"]);
    place.write("table.parquet.gz", "a\n1\n");
    place
        .run(&["analyze", "table.parquet.gz"])
        .fails(2, &["table.parquet.gz", "decompress"]);
}

#[test]
fn outputs_that_cannot_be_written_are_named() {
    let place = place();
    let refused: &[(&[&str], &str)] = &[
        (&["-o", "none/report.json"], "none/report.json"),
        (&["--regress", "b ~ a", "--save-model", "none/m.json"], "none/m.json"),
        (&["--differences-output", "none/d.csv"], "none/d.csv"),
        (&["--bad-rows", "quarantine=none/q.ndjson"], "none/q.ndjson"),
        (&["-o", "."], "."),
    ];
    for (args, name) in refused {
        let args = [&["analyze", "table.csv", "--format", "json"], *args].concat();
        place.run(&args).fails(74, &["cannot write", name]);
    }
    assert_eq!(place.names(), ["table.csv"]);
}

/// A device without room fails every write; it takes the extension of a report by way of a link.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_output_error() {
    let place = place();
    let mut bad = std::fs::read(place.path("table.csv")).unwrap();
    bad.extend_from_slice(b"1,2,3\n");
    place.write("bad.csv", bad);
    let extensions = ["json", "ndjson", "csv", "md", "html", "txt", "parquet"];
    for extension in extensions
        .into_iter()
        .filter(|e| *e != "parquet" || cfg!(feature = "parquet"))
    {
        let name = format!("full.{extension}");
        std::os::unix::fs::symlink("/dev/full", place.path(&name)).unwrap();
        place
            .run(&["analyze", "table.csv", "-o", &name])
            .fails(74, &["cannot write", &name, "No space"]);
    }
    let refused: &[&[&str]] = &[
        &["table.csv", "--differences-output", "full.csv"],
        &["table.csv", "--regress", "b ~ a", "--save-model", "full.json"],
        &["bad.csv", "--bad-rows", "quarantine=full.ndjson"],
    ];
    for args in refused {
        let args = [&["analyze", "-o", "report.json"], *args].concat();
        place.run(&args).fails(74, &["cannot write", "full.", "No space"]);
    }
    // The report that came along was not left half done either.
    assert!(
        !place.names().iter().any(|name| name.contains("report")),
        "{:?}",
        place.names()
    );
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["analyze", "table.csv"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(74));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("cannot write standard output: No space")
    );
}

/// `| head`: the reader that has seen enough gets no message, and the status says that the output is not whole.
#[test]
fn a_reader_that_goes_away_is_no_news() {
    let place = Place::new();
    let rows: String = (0..20_000).map(|i| format!("{i},{i}\n")).collect();
    place.write("keys.csv", format!("k,x\n{rows}"));
    let mut command = place.command(&["analyze", "keys.csv", "--by", "k", "--format", "ndjson"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 8];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(&first, b"{\"key\":{");
    assert_eq!(output.status.code(), Some(74));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn limits_and_what_is_not_there() {
    let place = place();
    let parts = ["300 groups", "1024 bytes", "--max-memory"];
    place
        .run(&["analyze", "table.csv", "--by", "t", "--max-memory", "1KiB"])
        .fails(1, &parts);
    let report = place.analyze(&["table.csv", "--by", "t", "--max-memory", "1GiB"]);
    assert_eq!(report["groups"].as_array().unwrap().len(), 300);
    // A machine without one, or a build without: either way the message names the way out.
    let outcome = place.run(&["analyze", "table.csv", "--backend", "gpu", "--format", "json"]);
    if outcome.status != 0 {
        outcome.fails(1, &["GPU", "--backend cpu"]);
    }
}

#[test]
fn a_failed_run_leaves_no_half_files() {
    let place = place();
    let mut text = std::fs::read_to_string(place.path("table.csv")).unwrap();
    text.push_str(&"9,9,9,9\n".repeat(12_000));
    text.push_str("9,9,warm,9\n");
    place.write("bad.csv", text);
    place.write("report.json", "the one before");
    let args = "analyze bad.csv -o report.json --regress a~t --save-model model.json --differences-output d.csv";
    let args: Vec<&str> = args.split(' ').collect();
    place.run(&args).fails(65, &["bad.csv", "line 12302", "warm"]);
    assert_eq!(place.names(), ["bad.csv", "report.json", "table.csv"]);
    assert_eq!(
        std::fs::read_to_string(place.path("report.json")).unwrap(),
        "the one before"
    );
    // The same run does leave them where it can.
    assert_eq!(place.run(&[&args[..], &["--bad-rows", "skip"]].concat()).status, 0);
    assert_eq!(
        place.names(),
        ["bad.csv", "d.csv", "model.json", "report.json", "table.csv"]
    );
    assert_ne!(
        std::fs::read_to_string(place.path("report.json")).unwrap(),
        "the one before"
    );
}

#[test]
fn messages_are_json_objects_where_that_is_asked() {
    let place = place();
    place.write("bad.csv", "a,b\n1,2\n3\n");
    place.write("header.csv", "a,k\n");
    for (args, status, level, part) in [
        (&["analyze", "bad.csv"][..], 65, "error", "line 3"),
        (&["analyze", "bad.csv", "--bad-rows", "skip"], 0, "note", "1 row"),
        (&["analyze", "none.csv"], 66, "error", "none.csv"),
        (&["analyze", "header.csv"], 0, "note", "no rows"),
        (&["analyze", "table.csv", "--nonsense"], 2, "error", "--nonsense"),
        (&["frobnicate"], 2, "error", "frobnicate"),
    ] {
        for flag in [&["--log-format", "json"][..], &["--log-format=json"]] {
            let outcome = place.run(&[flag, args].concat());
            assert_eq!(outcome.status, status, "{args:?}: {}", outcome.stderr);
            let lines: Vec<Value> = outcome
                .stderr
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let [message] = lines.as_slice() else {
                panic!("{args:?}: {lines:?}");
            };
            assert_eq!(message["level"], level);
            assert!(message["message"].as_str().unwrap().contains(part), "{message}");
        }
    }
}

/// A run that is interrupted leaves what was there and nothing else.
#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_no_half_files() {
    use std::os::unix::process::ExitStatusExt;
    for (name, number) in [("INT", 2), ("TERM", 15)] {
        let place = Place::new();
        place.write("report.json", "old");
        let args = ["analyze", "-", "-o", "report.json", "--differences-output", "d.csv"];
        let mut child = place
            .command(&args)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // More than is looked at for the types of columns; then the input stays open.
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"a\n").unwrap();
        stdin.write_all(&b"1.5\n".repeat(4 << 20)).unwrap();
        while place.names().iter().filter(|name| name.ends_with(".tmp")).count() < 2 {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::yield_now();
        }
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number));
        assert_eq!(place.names(), ["report.json"]);
        assert_eq!(std::fs::read_to_string(place.path("report.json")).unwrap(), "old");
    }
}
