//! What the command says to input that it cannot use: the exit status, and a message that names the place and the way
//! out.

use crate::command::{Place, timeless};
use crate::formats::{PACKERS, gzip};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// `a,b` and this many rows `i,2i`; one cell of `b` replaced on some lines (the header is line 1).
fn table(rows: u64, replaced: &[(u64, &str)]) -> String {
    let mut text = String::from("a,b\n");
    for i in 0..rows {
        match replaced.iter().find(|(line, _)| *line == i + 2) {
            Some((_, cell)) => writeln!(text, "{i},{cell}").unwrap(),
            None => writeln!(text, "{i},{}", 2 * i).unwrap(),
        }
    }
    text
}

#[test]
fn an_empty_file_is_bad_data_and_a_header_alone_is_not() {
    let place = Place::new();
    place
        .run(&["analyze", place.write("empty.csv", "")])
        .fails(65, &["empty.csv", "0 bytes"]);
    for name in ["empty.tsv", "empty.ndjson", "empty.arrow", "empty.csv.gz"] {
        place
            .run(&["analyze", place.write(name, "")])
            .fails(65, &[name, "empty"]);
    }
    place
        .feed(&["analyze", "-"], b"")
        .fails(65, &["standard input", "empty"]);

    let outcome = place.run(&["analyze", "--format", "json", place.write("header.csv", "a,b\n")]);
    assert!(outcome.stderr.contains("no rows"), "{}", outcome.stderr);
    let report = outcome.json();
    assert_eq!(report["rows"], 0);
    let column = &report["groups"][0]["columns"]["b"];
    assert_eq!((&column["count"], &column["mean"]), (&json!(0), &Value::Null));
}

#[test]
fn text_in_a_numeric_column_is_named_by_its_place() {
    let place = Place::new();
    // Behind the 10,000 rows that decide the types.
    place.write("late.csv", table(30_000, &[(20_002, "warm\x1b")]));
    let parts = [
        "late.csv",
        "line 20002",
        "column `b`",
        r#""warm\x1b""#,
        "not a number",
        "--bad-rows",
    ];
    for threads in ["1", "2", "7"] {
        place
            .run(&["analyze", "late.csv", "--threads", threads])
            .fails(65, &parts);
    }
    // Within them the column is text, unless it is asked for as a number.
    place.write("early.csv", table(12_000, &[(5002, "warm")]));
    let outcome = place.run(&["analyze", "--format", "json", "early.csv"]);
    assert!(outcome.stderr.contains("left out: b"), "{}", outcome.stderr);
    assert!(outcome.json()["groups"][0]["columns"].get("b").is_none());
    let parts = ["early.csv", "line 5002", "column `b`", "\"warm\"", "--bad-rows"];
    place.run(&["analyze", "early.csv", "--columns", "b"]).fails(65, &parts);
    place
        .run(&["analyze", "early.csv", "--regress", "b ~ a"])
        .fails(65, &parts);
    // One number among the first rows is enough; a column of text alone is not numeric, whoever asks.
    let lines: String = (0..9)
        .map(|i| {
            format!(
                "{{\"a\":{i},\"b\":{},\"c\":\"x\"}}\n",
                if i == 4 { "\"warm\"" } else { "7" }
            )
        })
        .collect();
    place.write("early.ndjson", lines);
    let parts = ["early.ndjson", "line 5", "column `b`", "warm", "--bad-rows"];
    place
        .run(&["analyze", "early.ndjson", "--columns", "b"])
        .fails(65, &parts);
    place
        .run(&["analyze", "early.ndjson", "--columns", "c"])
        .fails(2, &["`c`", "not numeric"]);
    assert!(
        place.analyze(&["early.ndjson"])["groups"][0]["columns"]
            .get("b")
            .is_none()
    );
    let report = place.analyze(&["early.csv", "--columns", "b", "--bad-rows", "skip"]);
    assert_eq!((&report["rows"], &report["rejected_rows"]), (&json!(11_999), &json!(1)));
}

#[test]
fn rows_of_the_wrong_length_are_named() {
    let place = Place::new();
    place.write("short.csv", "a,b,c\n1,2,3\n4,5\n");
    let parts = [
        "short.csv",
        "line 3",
        "column `c`",
        "\"4,5\"",
        "2 fields",
        "has 3",
        "--bad-rows",
    ];
    place.run(&["analyze", "short.csv"]).fails(65, &parts);
    place.write("long.csv", "a,b\n1,2\n\n3,4,5\n");
    let parts = ["long.csv", "line 4", "\"3,4,5\"", "3 fields", "has 2", "--bad-rows"];
    place.run(&["analyze", "long.csv"]).fails(65, &parts);
    place.write("ragged.ndjson", "{\"a\":1}\n{\"a\":2,\n{\"a\":3}\n");
    place
        .run(&["analyze", "ragged.ndjson"])
        .fails(65, &["ragged.ndjson", "line 2", "{\\\"a\\\":2,", "--bad-rows"]);
}

#[test]
fn bad_rows_can_be_skipped_or_kept_aside() {
    let place = Place::new();
    let mut text = table(12_000, &[(11_002, "warm"), (11_500, "1,2"), (11_900, "\u{fffd}")]).into_bytes();
    let at = text.windows(3).position(|w| w == "\u{fffd}".as_bytes()).unwrap();
    text.splice(at..at + 3, [0xff, 0xfe]);
    place.write("bad.csv", &text);
    let skipped = place.analyze(&["bad.csv", "--bad-rows", "skip"]);
    assert_eq!(
        (&skipped["rows"], &skipped["rejected_rows"]),
        (&json!(11_997), &json!(3))
    );
    let policy = "quarantine=aside.ndjson";
    let outcome = place.run(&["analyze", "--format", "json", "bad.csv", "--bad-rows", policy]);
    assert!(outcome.stderr.contains("3 rows"), "{}", outcome.stderr);
    assert_eq!(timeless(outcome.json()), timeless(skipped));
    let lines = std::fs::read_to_string(place.path("aside.ndjson")).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let want = [
        json!({"source": "bad.csv", "line": 11_002, "column": "b", "reason": "is not a number", "bytes": "warm",
               "row": "11000,warm"}),
        json!({"source": "bad.csv", "line": 11_500, "column": null, "reason": "has 3 fields where the header has 2",
               "bytes": "11498,1,2", "row": "11498,1,2"}),
        json!({"source": "bad.csv", "line": 11_900, "column": "b", "reason": "is not a number", "bytes": "\\xff\\xfe",
               "row": "11898,\\xff\\xfe", "escaped": true}),
    ];
    assert_eq!(rows, want);
}

/// The rows of a quarantine, put under the header again, give the same rows once more; nothing of them is lost or cut.
#[test]
fn a_quarantine_holds_whole_rows() {
    let place = Place::new();
    let long = "long ".repeat(50_000);
    let bad = [
        format!("warm,\"two\nlines, {long}\",\\"),
        "1,x".to_owned(),
        "hot,,ö".to_owned(),
    ];
    place.write("bad.csv", format!("a,b,c\n1,x,y\r\n{}\n", bad.join("\r\n")));
    let rows_of = |name: &str, source: &str| -> Vec<(u64, String, String)> {
        let args = ["analyze", source, "--columns", "a", "--bad-rows"];
        let outcome = place.run(&[&args[..], &[&format!("quarantine={name}")]].concat());
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let lines = std::fs::read_to_string(place.path(name)).unwrap();
        let parsed = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let fields = parsed.map(|row| (row["line"].as_u64().unwrap(), text(&row["bytes"]), text(&row["row"])));
        fields.collect()
    };
    let rows = rows_of("first.ndjson", "bad.csv");
    let want: Vec<(u64, String, String)> = [(3, "warm"), (5, "1,x"), (6, "hot")]
        .into_iter()
        .zip(&bad)
        .map(|((line, bytes), row)| (line, bytes.to_owned(), row.clone()))
        .collect();
    assert_eq!(rows, want);
    let again: String = rows.iter().map(|(_, _, row)| format!("{row}\n")).collect();
    place.write("again.csv", format!("a,b,c\n1,x,y\n{again}"));
    let again: Vec<String> = rows_of("second.ndjson", "again.csv")
        .into_iter()
        .map(|row| row.2)
        .collect();
    assert_eq!(again, bad);

    let object = format!("{{\"b\": \"{long}\", \"a\": \"warm\", \"c\": {{}}}}");
    place.write("bad.ndjson", format!("{{\"a\": 1}}\n  {object} \n\n{{\"a\": \n"));
    let rows = rows_of("third.ndjson", "bad.ndjson");
    let want = [(2, "warm", object.as_str()), (4, "{\"a\":", "{\"a\":")];
    assert_eq!(
        rows,
        want.map(|(line, bytes, row)| (line, bytes.to_owned(), row.to_owned()))
    );
}

#[test]
fn truncated_and_damaged_streams_are_bad_data() {
    let place = Place::new();
    let text = table(30_000, &[]);
    for (extension, pack) in PACKERS {
        let whole = pack(text.as_bytes());
        let name = format!("table.csv.{extension}");
        place.write(&name, &whole);
        assert_eq!(place.analyze(&[&name])["rows"], 30_000);
        for length in [whole.len() / 2, whole.len() - 1] {
            place.write(&name, &whole[..length]);
            place
                .run(&["analyze", &name, "-o", "report.json"])
                .fails(65, &[&name, "truncated"]);
        }
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle..middle + 8].fill(0x5a);
        place.write(&name, &damaged);
        place.run(&["analyze", &name, "-o", "report.json"]).fails(65, &[&name]);
        std::fs::remove_file(place.path(&name)).unwrap();
    }
    // No report, not even half of one.
    assert_eq!(place.names(), Vec::<String>::new());
}

#[cfg(feature = "parquet")]
#[test]
fn truncated_columnar_files_are_bad_data() {
    let place = Place::new();
    let batch = crate::formats::batch();
    for (name, whole) in [
        (
            "table.parquet",
            crate::formats::parquet(&batch, parquet::basic::Compression::SNAPPY),
        ),
        ("table.arrow", crate::formats::arrow_file(&batch)),
        ("stream.arrow", crate::formats::arrow_stream(&batch)),
    ] {
        for length in [whole.len() / 2, whole.len() - 1, 4] {
            // The last byte of a stream is part of its end mark, which may be absent.
            if name == "stream.arrow" && length == whole.len() - 1 {
                continue;
            }
            place.write(name, &whole[..length]);
            place.run(&["analyze", name]).fails(65, &[name]);
        }
    }
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_bad_data() {
    let place = Place::new();
    let text = "a,b\n1,2\n";
    for name in ["text.parquet", "text.arrow"] {
        if name == "text.parquet" && cfg!(not(feature = "parquet")) {
            continue;
        }
        place
            .run(&["analyze", place.write(name, text)])
            .fails(65, &[name, "looks like text", "--input-format"]);
    }
    place
        .run(&["analyze", place.write("gzip.csv", gzip(text.as_bytes()))])
        .fails(65, &["gzip.csv", "gzip", ".gz"]);
    place
        .run(&["analyze", place.write("text.csv.gz", text)])
        .fails(65, &["text.csv.gz"]);
    let parts = ["parquet.csv", "Parquet", "--input-format parquet"];
    place
        .run(&["analyze", place.write("parquet.csv", "PAR1\x15\x04\x15")])
        .fails(65, &parts);
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    place
        .run(&["analyze", place.write("utf16.csv", utf16)])
        .fails(65, &["utf16.csv", "UTF-16", "UTF-8"]);
}

#[test]
fn what_cannot_be_opened_is_named() {
    let place = Place::new();
    place
        .run(&["analyze", "none.csv"])
        .fails(66, &["none.csv", "No such file"]);
    place.run(&["analyze", "none"]).fails(66, &["none", "No such file"]);
    std::fs::create_dir(place.path("folder")).unwrap();
    std::fs::create_dir(place.path("folder.csv")).unwrap();
    for name in ["folder", "folder.csv", "."] {
        place.run(&["analyze", name]).fails(66, &[name, "is a directory"]);
    }
    place.write("good.csv", "a\n1\n");
    place.run(&["analyze", "good.csv", "none.csv"]).fails(66, &["none.csv"]);
}

#[test]
fn tables_that_do_not_fit_are_bad_data() {
    let place = Place::new();
    place.write("ab.csv", "a,b\n1,2\n");
    place.write("ac.csv", "a,c\n1,2\n");
    place
        .run(&["analyze", "ab.csv", "ac.csv"])
        .fails(65, &["ac.csv", "`b`"]);
    place.write("abc.csv", "a,b,c\n1,2,3\n");
    place
        .run(&["analyze", "ab.csv", "abc.csv"])
        .fails(65, &["abc.csv", "`c`"]);
    place
        .run(&["analyze", place.write("text.csv", "a,b\nx,y\n")])
        .fails(65, &["no numeric column"]);
    place
        .run(&["analyze", place.write("twice.csv", "a,b,a\n1,2,3\n")])
        .fails(65, &["twice.csv", "line 1", "`a`", "twice"]);
    place.write("blank.csv", "\n\n\n");
    place.run(&["analyze", "blank.csv"]).fails(65, &["blank.csv", "header"]);
}

#[test]
fn quotes_without_end_long_lines_and_invalid_text() {
    let place = Place::new();
    let unending = format!("a,b\n1,2\n3,\"x\n{}", "4,5\n".repeat(5000));
    place
        .run(&["analyze", place.write("unending.csv", unending)])
        .fails(65, &["unending.csv", "line 3", "quote"]);
    let long = format!("a,b\n1,2\n3,{}\n", "7".repeat(5 << 20));
    place
        .run(&["analyze", place.write("wide.csv", long)])
        .fails(65, &["wide.csv", "line 3", "4194304 bytes"]);

    // In a text column that is a key, invalid UTF-8 is a bad row; in one that is not looked at it is nothing.
    place.write("text.csv", b"k,b\nx,1\n\xff\xfe,2\nx,3\n");
    assert_eq!(place.analyze(&["text.csv"])["rows"], 3);
    let parts = [
        "text.csv",
        "line 3",
        "column `k`",
        r#""\xff\xfe""#,
        "UTF-8",
        "--bad-rows",
    ];
    place.run(&["analyze", "text.csv", "--by", "k"]).fails(65, &parts);
    let report = place.analyze(&["text.csv", "--by", "k", "--bad-rows", "skip"]);
    assert_eq!((&report["rows"], &report["groups"][0]["rows"]), (&json!(2), &json!(2)));
}

#[test]
fn a_row_without_a_time_is_a_bad_row() {
    let place = Place::new();
    place.write(
        "times.csv",
        "t,x\n2020-01-01T00:00:00Z,1\n,2\nsoon,3\n2020-01-01T00:00:05Z,4\n",
    );
    let args = ["times.csv", "--time", "t", "--window", "10s"];
    let parts = ["times.csv", "line 3", "column `t`", "--bad-rows"];
    place.run(&[&["analyze"], &args[..]].concat()).fails(65, &parts);
    let report = place.analyze(&[&args[..], &["--bad-rows", "skip"]].concat());
    assert_eq!((&report["rows"], &report["rejected_rows"]), (&json!(2), &json!(2)));
    assert_eq!(
        report["groups"][0]["window"],
        json!({"start": "2020-01-01T00:00:00Z", "end": "2020-01-01T00:00:10Z"})
    );
}

/// Numbers beyond the range of f64 are infinite; the names of missing values are missing.
#[test]
fn extreme_and_missing_numbers() {
    let place = Place::new();
    place.write(
        "x.csv",
        "x,y\n1e400,NA\n-1e400,NaN\n1e-400,nan\n+.5,null\n00501,None\n760.,\n1E2,7\n",
    );
    let report = place.analyze(&["x.csv"]);
    let columns = &report["groups"][0]["columns"];
    assert_eq!(
        (&columns["x"]["count"], &columns["x"]["missing"]),
        (&json!(7), &json!(0))
    );
    assert_eq!(
        (&columns["x"]["min"], &columns["x"]["max"]),
        (&json!("-Infinity"), &json!("Infinity"))
    );
    assert_eq!(
        (&columns["y"]["count"], &columns["y"]["missing"], &columns["y"]["mean"]),
        (&json!(1), &json!(6), &json!(7.0))
    );
    let report = place.analyze(&["x.csv", "--where", "x > 0 and x < 1e300"]);
    assert_eq!(report["groups"][0]["columns"]["x"]["sum"], 1361.5);
}

/// Packed input that grows without bound stops at the factor; a larger one lets it through.
#[test]
fn bombs_stop_at_the_expansion_limit() {
    let place = Place::new();
    let rows: usize = 2 << 20;
    let text = format!("a\n{}", "1\n".repeat(rows));
    for (extension, pack) in PACKERS {
        let packed = pack(text.as_bytes());
        let factor = text.len() / packed.len();
        let name = format!("bomb.csv.{extension}");
        place.write(&name, packed);
        let half = (factor / 2).to_string();
        let parts = [name.as_str(), &half, "--max-expansion"];
        place
            .run(&["analyze", &name, "--max-expansion", &half])
            .fails(1, &parts);
        let outcome = place.run(&["analyze", &name]);
        if factor > 1100 {
            outcome.fails(1, &[&name, "1000", "--max-expansion"]);
        }
        let report = place.analyze(&[&name, "--max-expansion", "100000"]);
        assert_eq!(report["rows"], rows);
    }
}
