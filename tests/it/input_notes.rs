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
