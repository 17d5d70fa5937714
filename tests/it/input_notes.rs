//! What the command tells about an input: why it has no numeric column, and what of it is left out.

use crate::command::Place;

#[test]
fn an_input_without_numbers_is_shown_with_its_columns() {
    let place = Place::new();
    let long = "v".repeat(100);
    place.write("text.csv", format!("day,note,late\nmonday,{long},\ntuesday,b,x\n"));
    let parts = [
        "no numeric column in text.csv",
        "`day` (\"monday\")",
        "`note` (\"vvv",
        "`late` (\"x\")",
    ];
    let outcome = place.run(&["analyze", "text.csv"]);
    outcome.fails(65, &parts);
    assert!(!outcome.stderr.contains(&"v".repeat(40)) && !outcome.stderr.contains("separated"));

    let wide: Vec<String> = (0..40).map(|i| format!("c{i}")).collect();
    place.write("wide.csv", format!("{}\n{}\n", wide.join(","), vec!["x"; 40].join(",")));
    let outcome = place.run(&["analyze", "wide.csv"]);
    outcome.fails(65, &["`c0` (\"x\")", "`c11` (\"x\") and 28 more"]);
    assert!(!outcome.stderr.contains("c12"), "{}", outcome.stderr);

    place.write("text.ndjson", "{\"a\":\"x\",\"tags\":[1]}\n");
    place
        .run(&["analyze", "text.ndjson"])
        .fails(65, &["in text.ndjson", "`a` (\"x\")"]);
    // The row that would show a value is a bad one.
    place.write("times.csv", "t,a\nsoon,x\n");
    place
        .run(&["analyze", "times.csv", "--time", "t"])
        .fails(65, &["in times.csv", "`t`, `a`"]);
    place.write("keys.csv", "k,a\n1,x\n");
    place
        .run(&["analyze", "keys.csv", "--by", "k"])
        .fails(65, &["no numeric column in keys.csv besides `k`", "`a` (\"x\")"]);
}

#[test]
fn another_separator_is_hinted_at() {
    let place = Place::new();
    place.write("semicolon.csv", "temp;wind\n1;2\n3;4\n");
    let parts = ["`temp;wind` (\"1;2\")", "separated by `;`", "convert"];
    place.run(&["analyze", "semicolon.csv"]).fails(65, &parts);
    place
        .run(&["analyze", "semicolon.csv", "--columns", "temp"])
        .fails(2, &["`temp`", "separated by `;`"]);
    place
        .run(&["analyze", "semicolon.csv", "--time", "temp"])
        .fails(2, &["`temp`", "separated by `;`"]);
    // Decimal commas: rows have more fields than the header.
    place.write("decimal.csv", "temp;wind\n1,5;2,5\n");
    place
        .run(&["analyze", "decimal.csv"])
        .fails(65, &["line 2", "3 fields", "separated by `;`"]);
    let outcome = place.run(&["analyze", "decimal.csv", "--bad-rows", "skip"]);
    assert!(outcome.stderr.contains("separated by `;`"), "{}", outcome.stderr);
    place.write("tabs.csv", "temp\twind\n1\t2\n");
    place
        .run(&["analyze", "tabs.csv"])
        .fails(65, &["separated by tabs", "--input-format tsv"]);
    place.write("commas.tsv", "temp,wind\n1,2\n");
    place
        .run(&["analyze", "commas.tsv"])
        .fails(65, &["separated by commas", "--input-format csv"]);
    place.write("bars.csv", "temp|wind\n1|2\n");
    place.run(&["analyze", "bars.csv"]).fails(65, &["separated by `|`"]);
}

/// `a` in 10,000 rows and more, then `late` fields in one row each.
fn late_rows(fields: &[&str]) -> String {
    let early: String = (0..10_100).map(|i| format!("{{\"a\":{i}}}\n")).collect();
    let late: String = fields.iter().map(|field| format!("{{\"a\":1,{field}}}\n")).collect();
    early + &late + "{\"a\":2}\n"
}

#[test]
fn fields_that_come_late_are_named_or_read() {
    let place = Place::new();
    let fields = ["\"b\":5", "\"c\":\"x\",\"b\":7.5", "\"d\":[1]", "\"b\":null"];
    place.write("late.ndjson", late_rows(&fields));
    for threads in ["1", "3"] {
        let outcome = place.run(&["analyze", "late.ndjson", "--format", "json", "--threads", threads]);
        assert_eq!(
            outcome.stderr.matches("left out: b, c, d").count(),
            1,
            "{}",
            outcome.stderr
        );
        let report = outcome.json();
        assert_eq!(report["rows"], 10_105);
        assert_eq!(report["groups"][0]["columns"].as_object().unwrap().len(), 1);
    }
    // The same rows as one array.
    let array = format!("[{}]", late_rows(&fields).trim_end().replace('\n', ","));
    let outcome = place.run(&["analyze", place.write("late.json", array)]);
    assert!(outcome.stderr.contains("left out: b, c, d"), "{}", outcome.stderr);

    let outcome = place.run(&["analyze", "late.ndjson", "--format", "json", "--columns", "b,a"]);
    assert!(!outcome.stderr.contains("left out"), "{}", outcome.stderr);
    let report = outcome.json();
    let b = &report["groups"][0]["columns"]["b"];
    assert_eq!(
        (&b["count"], &b["missing"], &b["sum"]),
        (&2.into(), &10_103.into(), &12.5.into())
    );
    let report = place.analyze(&["late.ndjson", "--regress", "b ~ a"]);
    assert_eq!(report["groups"][0]["regression"]["rows"], 2);

    place
        .run(&["analyze", "late.ndjson", "--columns", "c"])
        .fails(65, &["line 10102", "column `c`", "\"x\" is not a number"]);
    // What no row has is still unknown, and the message knows what was looked at.
    place
        .run(&[
            "analyze",
            "late.ndjson",
            "--columns",
            "a,zz",
            "--differences-output",
            "d.csv",
        ])
        .fails(2, &["`zz`", "there are: a"]);
    place
        .run(&["analyze", "late.ndjson", "--by", "c"])
        .fails(2, &["`c`", "first 10000 rows"]);
    let outcome = place.run(&["analyze", "late.ndjson", "--columns", "a,a"]);
    outcome.fails(2, &["`a`", "twice"]);
    assert!(!outcome.stderr.contains("first 10000"), "{}", outcome.stderr);
    // A column that is defined is none of the input.
    let report = place.analyze(&["late.ndjson", "--columns", "q", "--define", "q = 2 * a"]);
    assert_eq!(report["groups"][0]["columns"]["q"]["count"], 10_105);
    // A row that is bad adds no fields.
    place.write("bad.ndjson", late_rows(&["\"b\":5,\"c\":"]));
    let outcome = place.run(&["analyze", "bad.ndjson", "--bad-rows", "skip"]);
    assert!(!outcome.stderr.contains("left out: "), "{}", outcome.stderr);
}

#[test]
fn fields_that_come_late_in_one_of_several_inputs() {
    let place = Place::new();
    place.write("one.ndjson", late_rows(&[]));
    place.write("two.ndjson", late_rows(&["\"b\":5"]));
    for inputs in [["one.ndjson", "two.ndjson"], ["two.ndjson", "one.ndjson"]] {
        let outcome = place.run(&["analyze", inputs[0], inputs[1]]);
        assert!(outcome.stderr.contains("left out: b;"), "{}", outcome.stderr);
        let report = place.analyze(&[inputs[0], inputs[1], "--columns", "b"]);
        assert_eq!(report["groups"][0]["columns"]["b"]["count"], 1);
        place
            .run(&["analyze", inputs[0], inputs[1], "--columns", "zz"])
            .fails(2, &["`zz`", "there are: a"]);
    }
}

#[test]
fn nested_columns_are_named_in_every_format() {
    use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StructArray};
    use arrow::datatypes::{Field, Int32Type};
    use std::sync::Arc;
    let place = Place::new();
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
    let lists = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), None]);
    assert!(lists.values().as_primitive_opt::<Int32Type>().is_some());
    let inner = Arc::new(Field::new("y", x.data_type().clone(), true));
    let structs = StructArray::from(vec![(inner, x.clone())]);
    let columns: [(&str, ArrayRef); 3] = [("tags", Arc::new(lists)), ("x", x), ("place", Arc::new(structs))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    place.write("t.ndjson", "{\"tags\":[1],\"x\":1,\"place\":{\"y\":1}}\n{\"x\":2}\n");
    place.write("t.arrow", crate::formats::arrow_stream(&batch));
    let mut names = vec!["t.ndjson", "t.arrow"];
    #[cfg(feature = "parquet")]
    {
        let bytes = crate::formats::parquet(&batch, parquet::basic::Compression::SNAPPY);
        names.push(place.write("t.parquet", bytes));
    }
    for name in names {
        let outcome = place.run(&["analyze", name]);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        let said = outcome.stderr.matches("lists or objects, so left out: tags, place");
        assert_eq!(said.count(), 1, "{name}: {}", outcome.stderr);
        let outcome = place.run(&["analyze", name, "--columns", "x"]);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{name}");
        place
            .run(&["analyze", name, "--columns", "tags"])
            .fails(2, &["`tags`", "lists or objects"]);
    }
}

#[test]
fn messages_call_standard_input_by_its_name() {
    let place = Place::new();
    let bad_row = "t,x\nsoon,1\n";
    let fed: &[(&[&str], &[u8], &str)] = &[
        (&[], b"", "standard input is empty"),
        (&[], b"a\nx\n", "no numeric column in standard input;"),
        (&[], b"a,b\n1\n", "standard input: line 2"),
        (
            &["--time", "t"],
            bad_row.as_bytes(),
            "standard input: line 2, column `t`",
        ),
        (&[], b"{\"a\":1}\n{\"a\":\n", "standard input: line 2"),
        (
            &["--input-format", "arrow"],
            b"a,b\n1,2\n",
            "standard input is not Arrow",
        ),
        (&["--input-format", "arrow"], b"", "standard input is empty"),
        (&[], b"PAR1", "standard input is damaged"),
        (&[], b"\x1f\x8b\x08\x00", "standard input"),
        (&[], b"\xff\xff\xff\xff\x10", "standard input is damaged"),
        (&["--columns", "zz"], b"a\n1\n", "`zz`"),
    ];
    for (args, stdin, part) in fed {
        let outcome = place.feed(&[&["analyze", "-"], *args].concat(), stdin);
        assert_ne!(outcome.status, 0);
        outcome.fails(outcome.status, &[part]);
        assert!(
            !outcome.stderr.contains("error: -") && !outcome.stderr.contains(" - "),
            "{}",
            outcome.stderr
        );
    }
    place.write("a.csv", "a\n1\n");
    place
        .feed(&["analyze", "a.csv", "-"], b"b\n1\n")
        .fails(65, &["standard input has no column `a`"]);
    let args = [
        "analyze",
        "-",
        "--columns",
        "x",
        "--time",
        "t",
        "--bad-rows",
        "quarantine=q",
        "-o",
        "r.html",
    ];
    assert_eq!(place.feed(&args, bad_row.as_bytes()).status, 0);
    let kept = std::fs::read_to_string(place.path("q")).unwrap();
    assert!(kept.contains("\"source\":\"standard input\""), "{kept}");
    let page = std::fs::read_to_string(place.path("r.html")).unwrap();
    assert!(page.contains("standard input"));
}
