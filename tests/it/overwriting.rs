//! Outputs that would be written over an input or over each other are refused before anything is touched.

use crate::command::Place;
use std::process::Stdio;

const DATA: &str = "a,b\n1,2\n2,1\n3,5\n4,4\n";
const FIT: [&str; 3] = ["--regress", "a ~ b", "--save-model"];

/// A place with `data.csv` and an `other.csv`, which nothing may change.
fn place() -> Place {
    let place = Place::new();
    place.write("data.csv", DATA);
    place.write("other.csv", DATA);
    place
}

#[track_caller]
fn untouched(place: &Place, before: &[String]) {
    assert_eq!(place.names(), before);
    for name in ["data.csv", "other.csv"] {
        assert_eq!(std::fs::read_to_string(place.path(name)).unwrap(), DATA, "{name}");
    }
}

#[test]
fn no_output_is_an_input() {
    let place = place();
    let outputs: &[(&[&str], &str)] = &[
        (&["-o", "data.csv"], "--output data.csv"),
        (&["-o", "./data.csv", "--format", "json"], "--output ./data.csv"),
        (&["-o", "other.csv"], "other.csv"),
        (&["--differences-output", "data.csv"], "--differences-output data.csv"),
        (&[FIT[0], FIT[1], FIT[2], "data.csv"], "--save-model data.csv"),
        (&["--bad-rows", "quarantine=data.csv"], "--bad-rows quarantine=data.csv"),
    ];
    let before = place.names();
    for (args, said) in outputs {
        let outcome = place.run(&[&["analyze", "data.csv", "other.csv"], *args].concat());
        outcome.fails(2, &[said, "is the input", "name another file"]);
        untouched(&place, &before);
    }
    // An output that is there is replaced, as ever.
    place.write("report.json", "the one before");
    assert_eq!(place.run(&["analyze", "data.csv", "-o", "report.json"]).status, 0);
    assert_ne!(
        std::fs::read_to_string(place.path("report.json")).unwrap(),
        "the one before"
    );
}

#[test]
fn no_two_outputs_are_one_file() {
    let place = place();
    let both: &[&[&str]] = &[
        &["-o", "new.csv", "--differences-output", "new.csv"],
        &["-o", "new.csv", "--differences-output", "./new.csv"],
        &["-o", "new.json", FIT[0], FIT[1], FIT[2], "new.json"],
        &["-o", "new.ndjson", "--bad-rows", "quarantine=new.ndjson"],
        &["--differences-output", "new.csv", FIT[0], FIT[1], FIT[2], "new.csv"],
    ];
    let before = place.names();
    for args in both {
        let outcome = place.run(&[&["analyze", "data.csv"], *args].concat());
        outcome.fails(2, &["are the same file", "new."]);
        untouched(&place, &before);
    }
}

#[cfg(unix)]
#[test]
fn links_are_seen_through() {
    use std::os::unix::fs::symlink;
    let place = place();
    symlink("data.csv", place.path("soft.csv")).unwrap();
    std::fs::hard_link(place.path("data.csv"), place.path("hard.csv")).unwrap();
    std::fs::create_dir(place.path("folder")).unwrap();
    symlink("..", place.path("folder/up")).unwrap();
    symlink("later.csv", place.path("dangling.csv")).unwrap();
    let before = place.names();
    for name in ["soft.csv", "hard.csv", "folder/up/data.csv", "folder/../data.csv"] {
        place
            .run(&["analyze", "data.csv", "-o", name])
            .fails(2, &[name, "is the input data.csv"]);
        place
            .run(&["analyze", name, "--differences-output", "data.csv"])
            .fails(2, &["data.csv", &format!("is the input {name}")]);
    }
    for name in ["dangling.csv", "folder/up/later.csv"] {
        place
            .run(&["analyze", "data.csv", "-o", "later.csv", "--differences-output", name])
            .fails(2, &["later.csv", name, "are the same file"]);
    }
    untouched(&place, &before);
}

#[test]
fn standard_output_takes_one_output() {
    let place = place();
    let before = place.names();
    let model: Vec<&str> = [&["analyze", "data.csv"], &FIT[..], &["-"]].concat();
    place
        .run(&model)
        .fails(2, &["--output -", "--save-model -", "standard output"]);
    place
        .run(&["analyze", "data.csv", "--bad-rows", "quarantine=-"])
        .fails(2, &["quarantine=FILE"]);
    untouched(&place, &before);
    let outcome = place.run(&[&model[..], &["-o", "report.txt"]].concat());
    assert_eq!(outcome.json()["schema"], "millstream.model/1");
}

/// What the shell opened counts by what it is, not by its name.
#[cfg(unix)]
#[test]
fn redirections_are_seen_through() {
    let place = place();
    let before = place.names();
    let open = |name: &str| {
        std::fs::File::options()
            .append(true)
            .read(true)
            .open(place.path(name))
            .unwrap()
    };
    let run = |args: &[&str], stdin: Stdio, stdout: Stdio| {
        let mut command = place.command(args);
        let output = command
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (status, stderr) in [
        run(
            &["analyze", "-", "-o", "data.csv"],
            open("data.csv").into(),
            Stdio::piped(),
        ),
        run(&["analyze", "data.csv"], Stdio::null(), open("data.csv").into()),
        run(
            &["analyze", "data.csv", "--differences-output", "other.csv"],
            Stdio::null(),
            open("other.csv").into(),
        ),
    ] {
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains("name another file"), "{stderr}");
    }
    untouched(&place, &before);
    // Nowhere takes everything.
    let nowhere = [
        &["analyze", "data.csv", "-o", "/dev/null"],
        &FIT[..],
        &["/dev/null", "--format", "json"],
    ]
    .concat();
    let (status, stderr) = run(&nowhere, Stdio::null(), Stdio::null());
    assert_eq!(status, Some(0), "{stderr}");
}
