//! The files beside the report: the table of differences, the rows kept aside, and what an output replaces.

use crate::command::Place;

#[test]
fn names_in_the_table_of_differences_are_distinct() {
    let place = Place::new();
    place.write("t.csv", "ts,time,v\n0,5,1\n1000,7,2\n2000,9,4\n");
    let table = |more: &[&str]| {
        let args = [&["t.csv", "--time", "ts", "--differences-output", "d.csv"][..], more].concat();
        place.analyze(&args);
        std::fs::read_to_string(place.path("d.csv")).unwrap()
    };
    assert_eq!(table(&[]).lines().next(), Some("event_time,time,v"));
    let keyed = table(&["--by", "v,time", "--columns", "time,v"]);
    assert_eq!(keyed.lines().next(), Some("v_key,time_key,event_time,time,v"));
    // What was written can be read.
    assert_eq!(place.analyze(&["d.csv"])["rows"], 3);
}

/// The report and the table tell the same keys apart: −0 is 0.
#[test]
fn differences_are_those_of_the_reports_keys() {
    let place = Place::new();
    place.write("k.csv", "k,x\n0.5,1\n0,1\n-0,5\n0,7\n");
    let args = [
        "k.csv",
        "--by",
        "k",
        "--stats",
        "differences",
        "--differences-output",
        "d.csv",
    ];
    let report = place.analyze(&args);
    assert_eq!(report["groups"][0]["differences"]["x"]["mean"], 3.0);
    let table = std::fs::read_to_string(place.path("d.csv")).unwrap();
    let differences: Vec<&str> = table.lines().map(|line| line.rsplit(',').next().unwrap()).collect();
    assert_eq!(differences, ["x", "", "", "4", "2"]);
}

#[test]
fn rows_are_kept_aside_behind_those_of_other_runs_and_nowhere_else() {
    let place = Place::new();
    place.write("bad.csv", "a,b\n1,2\n3\n");
    let run = |file: &str| place.run(&["analyze", "bad.csv", "--bad-rows", &format!("quarantine={file}")]);
    for lines in [1, 2] {
        assert_eq!(run("aside.ndjson").status, 0);
        let kept = std::fs::read_to_string(place.path("aside.ndjson")).unwrap();
        assert_eq!(kept.lines().count(), lines);
    }
    place.write("mine.csv", "x\n1\n");
    run("mine.csv").fails(74, &["mine.csv", "something else"]);
    assert_eq!(std::fs::read_to_string(place.path("mine.csv")).unwrap(), "x\n1\n");
}

#[cfg(unix)]
#[test]
fn a_private_file_that_is_replaced_stays_private() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("a.csv", "a\n1\n");
    let path = place.path("report.json");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(place.run(&["analyze", "a.csv", "-o", "report.json"]).status, 0);
    assert!(std::fs::read_to_string(&path).unwrap().starts_with('{'));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn rows_that_a_regression_leaves_out_are_noted() {
    let place = Place::new();
    place.write("inf.csv", "x,y\n1,2\n2,4.5\n3,5.5\ninf,7\n4,9\n,3\n");
    let outcome = place.run(&["analyze", "inf.csv", "--regress", "y ~ x", "--format", "json"]);
    assert_eq!(outcome.status, 0);
    assert!(
        outcome.stderr.contains("infinite value") && outcome.stderr.contains(": x\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_memory_of_a_single_group_is_bounded_too() {
    let place = Place::new();
    let names: Vec<String> = (0..400).map(|i| format!("c{i}")).collect();
    let row = vec!["1"; 400].join(",");
    place.write("wide.csv", format!("{}\n{row}\n{row}\n", names.join(",")));
    let args = ["analyze", "wide.csv", "--stats", "correlation", "--max-memory"];
    place
        .run(&[&args[..], &["1MiB"]].concat())
        .fails(1, &["1 group", "--max-memory"]);
    assert_eq!(place.run(&[&args[..], &["1GiB"]].concat()).status, 0);
}

#[cfg(feature = "gpu")]
#[test]
fn a_trace_of_a_run_without_a_gpu_is_empty_and_says_so() {
    let place = Place::new();
    place.write("t.csv", "x\n1\n2\n");
    let outcome = place.run(&["analyze", "t.csv", "--backend", "cpu", "--profile", "trace.json"]);
    assert_eq!(outcome.status, 0);
    assert!(
        outcome.stderr.contains("nothing was computed on a GPU"),
        "{}",
        outcome.stderr
    );
    let text = std::fs::read_to_string(place.path("trace.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().all(|event| event["ph"] == "M"), "{text}");
    // It is an output like any other.
    let same = ["analyze", "t.csv", "--profile", "t.csv"];
    place.run(&same).fails(2, &["--profile", "t.csv"]);
}
