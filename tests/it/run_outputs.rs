//! What `millstream run` writes: never over what it reads, never twice, and from where a checkpoint stands.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::runs::Running;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROWS: &str = "ts,a,b\n1000,1,2\n2000,2,5\n3000,4,4\n";
const FEED: &str = "[feed]\ntype = \"file\"\npath = \"in.csv\"\n[rows]\ntime = \"ts\"\n[window]\nsize = \"1s\"\n";

fn appended(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn text(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path(name)).unwrap()
}

fn run(place: &Place, config: &str) -> crate::command::Outcome {
    place.write("run.toml", config);
    place.run(&["run", "run.toml"])
}

#[test]
fn nothing_is_written_to_what_is_read_nor_twice() {
    let ndjson = "{\"ts\": 1000, \"a\": 1}\n{\"ts\": 2000, \"a\": 2}\n";
    let sink = |path: &str| format!("[[sink]]\ntype = \"file\"\npath = \"{path}\"\n");
    let input = |path: &str| FEED.replace("in.csv", path);
    let cases = [
        (
            format!("{FEED}[limits]\nquarantine = \"in.csv\"\n"),
            "[limits] quarantine in.csv",
        ),
        (format!("{FEED}[limits]\nquarantine = \"./link.csv\"\n"), "path in.csv"),
        (
            format!("{FEED}late = \"side\"\nlate_path = \"hard.csv\"\n"),
            "[window] late_path hard.csv",
        ),
        (format!("{}{}", input("in.ndjson"), sink("./in.ndjson")), "./in.ndjson"),
        (
            format!("{FEED}{}{}", sink("o.ndjson"), sink("./o.ndjson")),
            "the same file",
        ),
        (
            format!("{FEED}{}[limits]\nquarantine = \"o.ndjson\"\n", sink("o.ndjson")),
            "quarantine o.ndjson",
        ),
        (
            format!("{FEED}late = \"side\"\nlate_path = \"l.ndjson\"\n[limits]\nquarantine = \"../HERE/l.ndjson\"\n"),
            "are the same file",
        ),
        // Not there yet, and followed.
        (
            format!(
                "{}[limits]\nquarantine = \"later.csv\"\n",
                input("later.csv").replace("[rows]", "follow = true\n[rows]")
            ),
            "later.csv",
        ),
        (
            format!(
                "{FEED}{}",
                sink("run.toml").replace("run.toml\"", "run.toml\"\nformat = \"ndjson\"")
            ),
            "the configuration",
        ),
        (
            format!("{FEED}[[sink]]\ntype = \"sqlite\"\npath = \"s.db\"\n[limits]\nquarantine = \"s.db-wal\"\n"),
            "s.db",
        ),
        (
            format!(
                "{}{}",
                input("out-000007.csv"),
                sink("out.csv").replace("out.csv\"", "out.csv\"\nformat = \"parquet\"")
            ),
            "gives to its own files",
        ),
        (format!("{FEED}{}{}", sink("x.parquet"), sink("x.pq")), "the same file"),
        (
            format!("{FEED}[state]\ndirectory = \"state\"\n[limits]\nquarantine = \"state/checkpoint-0000000001\"\n"),
            "[state] directory",
        ),
        (
            format!(
                "{FEED}[server]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n[limits]\nquarantine = \"token\"\n"
            ),
            "[server] token_file",
        ),
    ];
    for (config, said) in cases {
        let place = Place::new();
        let here = place.path("").file_name().unwrap().to_str().unwrap().to_owned();
        fs::create_dir(place.path("state")).unwrap();
        for (name, content) in [
            ("in.csv", ROWS),
            ("out-000007.csv", ROWS),
            ("in.ndjson", ndjson),
            ("token", "0123456789abcdef\n"),
        ] {
            place.write(name, content);
        }
        std::os::unix::fs::symlink("in.csv", place.path("link.csv")).unwrap();
        fs::hard_link(place.path("in.csv"), place.path("hard.csv")).unwrap();
        let config = config.replace("HERE", &here);
        place.write("run.toml", &config);
        let before = place.names();
        for command in ["run", "validate"] {
            place
                .run(&[command, "run.toml"])
                .fails(78, &[said, "name another file"]);
            assert_eq!(place.names(), before, "{config}");
        }
        assert_eq!(
            (text(&place, "in.csv"), text(&place, "in.ndjson")),
            (ROWS.into(), ndjson.into())
        );
        assert_eq!(text(&place, "run.toml"), config);
    }
}

#[test]
fn what_stands_in_a_file_that_is_newly_named_stays() {
    let place = Place::new();
    place.write("in.csv", ROWS);
    let state = format!("{FEED}[state]\ndirectory = \"state\"\n");
    assert_eq!(run(&place, &state).status, 0);
    let kept = "{\"source\":\"of another run\"}\n";
    place.write("bad.ndjson", kept);
    place.write("late.ndjson", kept);
    appended(&place.path("in.csv"), "4000,x,1\n");
    let both = format!("{FEED}late = \"side\"\nlate_path = \"late.ndjson\"\n[state]\ndirectory = \"state\"\n");
    // The window is part of what a state is made for, so late rows have one of their own.
    let late = run(&place, &both.replace("\"state\"", "\"other\""));
    assert_eq!(
        (late.status, text(&place, "late.ndjson").as_str()),
        (0, kept),
        "{}",
        late.stderr
    );
    let ran = run(&place, &format!("{state}[limits]\nquarantine = \"bad.ndjson\"\n"));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let bad = text(&place, "bad.ndjson");
    assert!(bad.starts_with(kept) && bad.lines().count() == 2, "{bad}");
    // Something else than rows that were kept aside is not appended to.
    place.write("mine.txt", "mine\n");
    run(&place, &format!("{state}[limits]\nquarantine = \"mine.txt\"\n")).fails(74, &["mine.txt", "something else"]);
    assert_eq!(text(&place, "mine.txt"), "mine\n");
}

#[test]
fn a_sink_that_is_newly_named_has_every_report_once_after_a_crash() {
    let place = Place::new();
    place.write("in.csv", ROWS);
    let state = "[state]\ndirectory = \"state\"\ninterval = \"1h\"\n[[sink]]\ntype = \"file\"\npath = \"a.ndjson\"\n";
    let follow = FEED.replace("[rows]", "follow = true\n[rows]");
    place.write("one.toml", format!("{follow}{state}"));
    let first = Running::start(&place, &["run", "one.toml"]);
    wait_for("the first reports", || {
        place.path("a.ndjson").metadata().is_ok_and(|m| m.len() > 0)
    });
    first.end_by("-TERM");
    place.write(
        "two.toml",
        format!("{follow}{state}[[sink]]\ntype = \"file\"\npath = \"b.ndjson\"\n"),
    );
    appended(&place.path("in.csv"), "9000,1,1\n10000,2,2\n11000,3,3\n");
    let second = Running::start(&place, &["run", "two.toml"]);
    wait_for("reports in the new sink", || {
        place.path("b.ndjson").metadata().is_ok_and(|m| m.len() > 0)
    });
    second.end_by("-KILL");
    let third = Running::start(&place, &["run", "two.toml"]);
    appended(&place.path("in.csv"), "20000,1,1\n21000,1,1\n");
    wait_for("the last report", || text(&place, "b.ndjson").contains("00:00:20Z"));
    third.end_by("-TERM");
    for name in ["a.ndjson", "b.ndjson"] {
        let lines = text(&place, name);
        let distinct: BTreeSet<&str> = lines.lines().collect();
        assert_eq!(distinct.len(), lines.lines().count(), "{name}: {lines}");
    }
}

#[test]
fn parquet_files_of_a_run_that_has_ended_may_be_moved_away() {
    let place = Place::new();
    place.write("in.csv", ROWS);
    let config = format!("{FEED}[state]\ndirectory = \"state\"\n[[sink]]\ntype = \"file\"\npath = \"out.parquet\"\n");
    assert_eq!(run(&place, &config).status, 0);
    fs::rename(place.path("out-000001.parquet"), place.path("away.parquet")).unwrap();
    appended(&place.path("in.csv"), "9000,1,1\n");
    let ran = run(&place, &config);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let rows = |name: &str| place.analyze(&[name, "--columns", "count"])["groups"][0]["rows"].as_u64();
    assert_eq!((rows("away.parquet"), rows("out-000002.parquet")), (Some(6), Some(2)));
}

#[test]
fn a_state_is_not_gone_on_from_where_the_engine_keeps_something_else() {
    let place = Place::new();
    place.write("in.csv", ROWS);
    let config = format!("{FEED}[state]\ndirectory = \"state\"\n");
    assert_eq!(run(&place, &config).status, 0);
    for other in [
        "[[alert]]\nname = \"x\"\nwhen = \"corr(a, b) > 0.5\"\n",
        "[engine]\nprecision = \"fast\"\n",
    ] {
        run(&place, &format!("{config}{other}")).fails(78, &["--discard-state"]);
    }
    // What the engine keeps anyway makes no difference, nor does the default by its name.
    let same = "[[alert]]\nname = \"x\"\nwhen = \"a.mean > 0.5\"\n[engine]\nprecision = \"exact\"\n";
    let ran = run(&place, &format!("{config}{same}"));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}
