//! Keys are never rounded: distinct whole numbers, decimals and texts are distinct groups in every input format.

use crate::command::Place;
use crate::formats::{arrow_file, arrow_stream};
use arrow::array::{
    ArrayRef, AsArray, Decimal128Array, DictionaryArray, Float64Array, Int16Array, Int64Array, RecordBatch, UInt64Array,
};
use arrow::datatypes::{Int8Type, Int64Type};
use serde_json::Value;
use std::sync::Arc;

/// 2^53 and the number behind it, which are one `f64`.
const PAIR: [i64; 2] = [9_007_199_254_740_992, 9_007_199_254_740_993];

/// The groups of a run over these files by `id`: each key as it is printed, its rows, and the sum of `x`.
fn groups(place: &Place, files: &[&str], more: &[&str]) -> Vec<(String, u64, f64)> {
    let report = place.analyze(&[files, &["--by", "id", "--columns", "x"], more].concat());
    let group = |g: &Value| {
        let (key, x) = (&g["key"]["id"], &g["columns"]["x"]);
        (key.to_string(), g["rows"].as_u64().unwrap(), x["sum"].as_f64().unwrap())
    };
    report["groups"].as_array().unwrap().iter().map(group).collect()
}

/// The same from the text of one file.
fn groups_of(name: &str, text: &str, more: &[&str]) -> Vec<(String, u64, f64)> {
    let place = Place::new();
    place.write(name, text);
    groups(&place, &[name], more)
}

fn expect(found: &[(String, u64, f64)], wanted: &[(&str, u64, f64)]) {
    let found: Vec<_> = found
        .iter()
        .map(|(key, rows, sum)| (key.as_str(), *rows, *sum))
        .collect();
    assert_eq!(found, wanted);
}

/// `id` and the numbers 1, 2, 3, … as `x`.
fn table(id: ArrayRef) -> RecordBatch {
    let x: Float64Array = (1..=id.len()).map(|i| Some(i as f64)).collect();
    RecordBatch::try_from_iter_with_nullable([("id", id, true), ("x", Arc::new(x) as ArrayRef, true)]).unwrap()
}

/// Files of every columnar format with this table.
fn columnar(place: &Place, table: &RecordBatch) -> Vec<&'static str> {
    let mut names = vec![
        place.write("t.arrow", arrow_file(table)),
        place.write("t.arrows", arrow_stream(table)),
    ];
    #[cfg(feature = "parquet")]
    {
        let codec = parquet::basic::Compression::SNAPPY;
        names.push(place.write("t.parquet", crate::formats::parquet(table, codec)));
    }
    names.sort_unstable();
    names
}

#[test]
fn neighbours_beyond_2_to_the_53rd_are_two_groups_in_text() {
    let [a, b] = PAIR;
    let csv = format!("id,x\n{a},1\n{b},2\n{a},3\n\"{b}\",4\n {b} ,5\n,6\n-{b},7\n");
    let json: String = [(a, 1), (b, 2), (a, 3), (b, 4), (b, 5)]
        .map(|(id, x)| format!("{{\"id\": {id}, \"x\": {x}}}\n"))
        .concat()
        + &format!("{{\"id\": null, \"x\": 6}}\n{{\"x\": 7, \"id\": -{b}}}\n");
    let wanted = [
        ("null", 1, 6.0),
        ("-9007199254740993", 1, 7.0),
        ("9007199254740992", 2, 4.0),
        ("9007199254740993", 3, 11.0),
    ];
    let mut found = groups_of("t.csv", &csv, &[]);
    found.sort_by_key(|g| g.0.parse::<i64>().unwrap_or(i64::MIN));
    expect(&found, &wanted);
    for (name, text) in [("t.tsv", csv.replace(',', "\t")), ("t.ndjson", json.clone())] {
        let mut found = groups_of(name, &text, &[]);
        found.sort_by_key(|g| g.0.parse::<i64>().unwrap_or(i64::MIN));
        expect(&found, &wanted);
    }
    // An absent key is a missing one, and the last of two counts.
    let json = format!("{{\"id\": 1, \"x\": 1}}\n{{\"x\": 2}}\n{{\"id\": {a}, \"x\": 4, \"id\": {b}}}\n");
    let found = groups_of("t.ndjson", &json, &[]);
    assert!(found.contains(&("null".into(), 1, 2.0)), "{found:?}");
    assert!(found.contains(&(b.to_string(), 1, 4.0)), "{found:?}");
}

#[test]
fn neighbours_beyond_2_to_the_53rd_are_two_groups_in_columns() {
    let [a, b] = PAIR;
    let signed = Int64Array::from(vec![a, b, a]);
    let indices = arrow::array::PrimitiveArray::<Int8Type>::from(vec![0, 1, 0]);
    let dictionary = DictionaryArray::new(indices, Arc::new(signed.clone()));
    let unsigned = UInt64Array::from(vec![u64::MAX - 1, u64::MAX, u64::MAX - 1]);
    let decimals = Decimal128Array::from(vec![i128::from(a), i128::from(b), i128::from(a)]);
    // Digits that no f64 prints as are text.
    let decimals = decimals.with_precision_and_scale(20, 2).unwrap();
    let small = Int16Array::from(vec![-1, 1, -1]);
    for (id, keys) in [
        (Arc::new(signed) as ArrayRef, ["9007199254740992", "9007199254740993"]),
        (Arc::new(dictionary), ["9007199254740992", "9007199254740993"]),
        (Arc::new(unsigned), ["18446744073709551614", "18446744073709551615"]),
        (Arc::new(decimals), ["90071992547409.92", "\"90071992547409.93\""]),
        (Arc::new(small), ["-1", "1"]),
    ] {
        let place = Place::new();
        for name in columnar(&place, &table(id.clone())) {
            expect(&groups(&place, &[name], &[]), &[(keys[0], 2, 4.0), (keys[1], 1, 2.0)]);
        }
    }
}

#[test]
fn whole_numbers_beyond_64_bits_are_text() {
    let (a, b) = ("18446744073709551616", "18446744073709551617");
    let csv = format!("id,x\n{a},1\n{b},2\n7,3\n007,4\n");
    let wanted = [
        ("\"007\"", 1, 4.0),
        ("\"18446744073709551616\"", 1, 1.0),
        ("\"18446744073709551617\"", 1, 2.0),
        ("\"7\"", 1, 3.0),
    ];
    expect(&groups_of("t.csv", &csv, &[]), &wanted);
    // JSON has no leading zeros.
    let json = format!("[{{\"id\":{a},\"x\":1}},{{\"id\":{b},\"x\":2}},{{\"id\":7,\"x\":3}}]");
    expect(&groups_of("t.json", &json, &[]), &wanted[1..]);
    // The ends of 64 bits still are whole numbers.
    let csv = format!("id,x\n{},1\n{},2\n{},3\n", i64::MIN, i64::MAX - 1, i64::MAX);
    let wanted = [
        ("-9223372036854775808", 1, 1.0),
        ("9223372036854775806", 1, 2.0),
        ("9223372036854775807", 1, 3.0),
    ];
    expect(&groups_of("t.csv", &csv, &[]), &wanted);
}

#[test]
fn leading_zeros_count_in_text_only() {
    // Numbers are what they say, however they are written; one text makes them all text.
    let found = groups_of("t.csv", "id,x\n007,1\n7,2\n+7,3\n", &[]);
    expect(&found, &[("7", 3, 6.0)]);
    let found = groups_of("t.csv", "id,x\n007,1\n7,2\nbond,3\n", &[]);
    expect(&found, &[("\"007\"", 1, 1.0), ("\"7\"", 1, 2.0), ("\"bond\"", 1, 3.0)]);
}

/// So many rows with the keys 0 and 1 that what follows decides no types, then this row.
fn late(ndjson: bool, row: &str) -> String {
    let line = |i: usize| match ndjson {
        true => format!("{{\"id\":{},\"x\":1}}\n", i % 2),
        false => format!("{},1\n", i % 2),
    };
    let head = if ndjson { "" } else { "id,x\n" };
    head.to_owned() + &(0..10_000).map(line).collect::<String>() + row + "\n"
}

#[test]
fn what_is_no_whole_number_later_is_a_bad_row() {
    for (cell, json) in [
        ("0.5", "0.5"),
        ("9223372036854775808", "9223372036854775808"),
        ("1e300", "1e300"),
        ("inf", "\"Infinity\""),
        ("seven", "\"seven\""),
    ] {
        for (name, text, line) in [
            ("t.csv", late(false, &format!("{cell},5")), "10002"),
            ("t.ndjson", late(true, &format!("{{\"id\":{json},\"x\":5}}")), "10001"),
        ] {
            let place = Place::new();
            place.write(name, text);
            let shown = if name == "t.csv" { cell } else { json.trim_matches('"') };
            let parts = [
                &format!("{name}: line {line}, column `id`"),
                shown,
                "whole number of 64 bits",
                "--bad-rows",
            ];
            place.run(&["analyze", name, "--by", "id"]).fails(65, &parts);
            let found = groups(&place, &[name], &["--bad-rows", "skip"]);
            expect(&found, &[("0", 5000, 5000.0), ("1", 5000, 5000.0)]);
        }
    }
    // Every spelling of a whole number is one.
    for cell in ["1e0", "1.0", "+1", "0001", "10e-1", "1."] {
        let found = groups_of("t.csv", &late(false, &format!("{cell},5")), &[]);
        expect(&found, &[("0", 5000, 5000.0), ("1", 5001, 5005.0)]);
    }
    let found = groups_of("t.ndjson", &late(true, "{\"id\":10e-1,\"x\":5}"), &[]);
    expect(&found, &[("0", 5000, 5000.0), ("1", 5001, 5005.0)]);
}

#[test]
fn keys_with_fractions_are_exact_or_bad_rows() {
    let [a, b] = PAIR;
    for (name, text) in [
        ("t.csv", format!("id,x\n0.5,1\n{a},2\n{b},3\n1e1,4\n10,5\n")),
        (
            "t.json",
            [
                ("0.5", 1),
                (&a.to_string(), 2),
                (&b.to_string(), 3),
                ("1e1", 4),
                ("10", 5),
            ]
            .map(|(id, x)| format!("{{\"id\":{id},\"x\":{x}}}\n"))
            .concat(),
        ),
    ] {
        let place = Place::new();
        place.write(name, text);
        let run = place.run(&["analyze", name, "--by", "id"]);
        run.fails(
            65,
            &["column `id`", &b.to_string(), "a key that a 64-bit float would round"],
        );
        let found = groups(&place, &[name], &["--bad-rows", "skip"]);
        expect(&found, &[("0.5", 1, 1.0), ("10", 2, 9.0), ("9007199254740992", 1, 2.0)]);
    }
}

#[test]
fn a_key_may_be_measured_and_may_be_the_time() {
    let [a, b] = PAIR;
    let place = Place::new();
    place.write("t.csv", format!("id\n{a}\n{b}\n{b}\n"));
    place.write("t.ndjson", format!("{{\"id\":{a}}}\n{{\"id\":{b}}}\n{{\"id\":{b}}}\n"));
    let mut names = vec!["t.csv", "t.ndjson"];
    names.extend(columnar(&place, &table(Arc::new(Int64Array::from(vec![a, b, b])))));
    for name in names {
        let report = place.analyze(&[name, "--by", "id", "--columns", "id", "--where", "id > 5"]);
        let groups = report["groups"].as_array().unwrap();
        let of = |g: &Value| {
            (
                g["key"]["id"].to_string(),
                g["columns"]["id"]["count"].as_u64(),
                g["columns"]["id"]["max"].as_f64(),
            )
        };
        let found: Vec<_> = groups.iter().map(of).collect();
        let (max, keys) = (Some(9_007_199_254_740_992.0), PAIR.map(|k| k.to_string()));
        assert_eq!(
            found,
            [(keys[0].clone(), Some(1), max), (keys[1].clone(), Some(2), max)],
            "{name}"
        );
    }
    // Measured and beyond 64 bits, it is a number, and a row whose key would be rounded is a bad one.
    place.write("big.csv", "id\n5\n18446744073709551617\n");
    let run = place.run(&["analyze", "big.csv", "--by", "id", "--columns", "id"]);
    run.fails(
        65,
        &["big.csv: line 3, column `id`", "18446744073709551617", "would round"],
    );
    place.write("time.csv", "id,x\n1600000000000000001,1\n1600000000000000002,2\n");
    let found = groups(&place, &["time.csv"], &["--time", "id", "--time-unit", "ns"]);
    let of = |n: u32| format!("\"2020-09-13T12:26:40.00000000{n}Z\"");
    expect(&found, &[(&of(1), 1, 1.0), (&of(2), 1, 2.0)]);
}

#[test]
fn every_report_prints_whole_keys_as_whole_numbers() {
    let [a, b] = PAIR;
    let place = Place::new();
    place.write("t.csv", format!("id,x\n{a},1\n{b},2\n{a},4\n"));
    let run = |more: &[&str]| {
        let run = place.run(&[&["analyze", "t.csv", "--by", "id"], more].concat());
        assert_eq!(run.status, 0, "{}", run.stderr);
        run
    };
    for format in ["table", "json", "ndjson", "csv", "markdown"] {
        let text = run(&["--format", format]);
        for id in PAIR {
            assert!(text.text().contains(&id.to_string()), "{format}: {}", text.text());
        }
    }
    run(&["--stats", "differences", "--differences-output", "d.csv"]);
    let rows = std::fs::read_to_string(place.path("d.csv")).unwrap();
    assert!(
        rows.contains(&format!("\n{a},")) && rows.contains(&format!("\n{b},")),
        "{rows}"
    );
    #[cfg(feature = "parquet")]
    {
        run(&["-o", "r.parquet"]);
        let file = std::fs::File::open(place.path("r.parquet")).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 100).unwrap();
        let batch = reader.into_iter().next().unwrap().unwrap();
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        assert_eq!(ids.values()[..], PAIR);
    }
}

#[test]
fn inputs_of_several_formats_have_one_type_of_key() {
    let [a, b] = PAIR;
    let place = Place::new();
    place.write("t.csv", format!("id,x\n{a},1\n{b},2\n"));
    place.write("t.ndjson", format!("{{\"id\":{a},\"x\":3}}\n{{\"id\":{b},\"x\":4}}\n"));
    let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    place.write("ints.arrow", arrow_stream(&table(ints(&[a, b]))));
    place.write(
        "unsigned.arrow",
        arrow_stream(&table(Arc::new(UInt64Array::from(vec![a as u64, b as u64])))),
    );
    place.write(
        "floats.arrow",
        arrow_stream(&table(Arc::new(Float64Array::from(vec![a as f64, 1.5])))),
    );
    let wanted = |sums: [f64; 2], rows| {
        [
            (PAIR[0].to_string(), rows, sums[0]),
            (PAIR[1].to_string(), rows, sums[1]),
        ]
    };
    for first in ["t.csv", "t.ndjson", "ints.arrow", "unsigned.arrow"] {
        let mut files = vec!["t.csv", "t.ndjson", "ints.arrow", "unsigned.arrow"];
        files.sort_by_key(|name| *name != first);
        assert_eq!(groups(&place, &files, &[]), wanted([6.0, 10.0], 4), "{first}");
    }
    // Text takes whole numbers in; floats take none in that they would round, and give none that has a fraction.
    place.write("long.csv", format!("id,x\n{a},1\n{b},2\n18446744073709551616,3\n"));
    let found = groups(&place, &["long.csv", "ints.arrow"], &[]);
    expect(
        &found[1..],
        &[("\"9007199254740992\"", 2, 2.0), ("\"9007199254740993\"", 2, 4.0)],
    );
    for files in [["floats.arrow", "ints.arrow"], ["ints.arrow", "floats.arrow"]] {
        let run = place.run(&["analyze", files[0], files[1], "--by", "id"]);
        run.fails(65, &["column `id`", "Int64", "Float64", files[0], files[1]]);
    }
}

#[test]
fn a_key_without_any_value_in_the_first_input_takes_what_comes_later() {
    let place = Place::new();
    place.write("none.csv", "id,x\n,1\n,2\n");
    place.write("text.csv", "id,x\nabc,3\n");
    expect(
        &groups(&place, &["none.csv", "text.csv"], &[]),
        &[("null", 2, 3.0), ("\"abc\"", 1, 3.0)],
    );
}
