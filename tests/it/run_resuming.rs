//! What `millstream run` reads after it was started again: files that were renamed, renamed twice, or are named by
//! another configuration, and journals that were not used for a while.

use crate::command::Place;
use crate::feed_support::{Seen, context, wait_for, wire};
use crate::http_client::get;
use crate::runs::Running;
use millstream::io::Source;
use millstream::io::follow::{FileOptions, FileSource};
use millstream::io::live::WireFormat;
use std::fs;
use std::io::Write;
use std::path::Path;

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Runs a feed of files with a state to its end; how many rows came so far, and what was said.
fn rows_in(place: &Place, path: &str, columns: &str) -> (u64, String) {
    let config = format!(
        "[feed]\ntype = \"file\"\npath = {path}\n[rows]\ntime = \"ts\"\n{columns}[window]\nsize = \"1s\"\n\
         [state]\ndirectory = \"state\"\n"
    );
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let (_, rest) = ran.stderr.split_once("rows in ").unwrap();
    let rows = rest.split(' ').next().unwrap().parse().unwrap();
    (rows, ran.stderr)
}

#[test]
fn a_file_that_was_renamed_between_two_runs_is_read_to_its_end_and_then_the_new_one() {
    let place = Place::new();
    let (path, old) = (place.path("in.csv"), place.path("in.csv.1"));
    append(&path, "ts,a\n1000,1\n2000,2\n");
    assert_eq!(rows_in(&place, "\"in.csv\"", "").0, 2);
    append(&path, "3000,3\n");
    fs::rename(&path, &old).unwrap();
    append(&path, "ts,a\n4000,4\n5000,5\n6000,6\n");
    let (rows, said) = rows_in(&place, "\"in.csv\"", "");
    assert_eq!(rows, 6, "{said}");
    // Twice, so that a whole file lies between.
    append(&path, "7000,7\n");
    fs::rename(&old, place.path("in.csv.2")).unwrap();
    fs::rename(&path, &old).unwrap();
    append(&path, "ts,a\n8000,8\n");
    fs::rename(place.path("in.csv.2"), place.path("in.csv.3")).unwrap();
    fs::rename(&old, place.path("in.csv.2")).unwrap();
    fs::rename(&path, &old).unwrap();
    append(&path, "ts,a\n9000,9\n9500,10\n");
    assert_eq!(rows_in(&place, "\"in.csv\"", "").0, 10);
    assert_eq!(rows_in(&place, "\"in.csv\"", "").0, 10);
}

#[test]
fn a_path_has_its_own_place_wherever_it_stands() {
    let place = Place::new();
    let text = |rows: &[u32]| -> String {
        let rows = rows.iter().map(|second| format!("{second}000,1\n"));
        std::iter::once("ts,a\n".to_owned()).chain(rows).collect()
    };
    append(&place.path("in.csv"), &text(&[1, 2]));
    assert_eq!(rows_in(&place, "\"in.csv\"", "").0, 2);
    append(&place.path("new.csv"), &text(&[11, 12, 13]));
    assert_eq!(rows_in(&place, "[\"in.csv\", \"new.csv\"]", "").0, 5);
    assert_eq!(rows_in(&place, "[\"./new.csv\", \"in.csv\"]", "").0, 5);
    // A path that is not named any more is said, and has its place when it comes back.
    append(&place.path("in.csv"), "21000,1\n");
    append(&place.path("other.csv"), &text(&[31]));
    let (rows, said) = rows_in(&place, "[\"other.csv\"]", "");
    assert_eq!(rows, 6, "{said}");
    assert!(said.contains("in.csv is not among its paths any more"), "{said}");
    let (rows, said) = rows_in(&place, "[\"in.csv\", \"other.csv\", \"new.csv\"]", "");
    assert_eq!(rows, 7, "{said}");
    // A file that is named by another name is the same file.
    fs::rename(place.path("new.csv"), place.path("moved.csv")).unwrap();
    append(&place.path("moved.csv"), "41000,1\n");
    assert_eq!(rows_in(&place, "[\"moved.csv\", \"in.csv\", \"other.csv\"]", "").0, 8);
}

#[test]
fn files_that_are_renamed_twice_while_one_is_read_are_all_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let options = FileOptions {
        paths: vec![file("a.csv")],
        follow: true,
        ..FileOptions::default()
    };
    append(&file("a.csv"), "a\n1\n");
    let mut source = FileSource::open(&context(wire(WireFormat::Csv)), &options).unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    let position = seen.positions[0].0;
    append(&file("a.csv"), "2\n");
    // A copy and another file that look similar are none of them.
    append(&file("a.csv.bak"), "a\n100\n");
    append(&file("ab.csv"), "a\n100\n");
    for (row, names) in [("3", 1), ("4", 2), ("5", 3)] {
        for number in (1..=names).rev() {
            let from = if number == 1 {
                "a.csv".into()
            } else {
                format!("a.csv.{}", number - 1)
            };
            fs::rename(file(&from), file(&format!("a.csv.{number}"))).unwrap();
        }
        append(&file("a.csv"), &format!("a\n{row}\n"));
    }
    let want = ["a=1.0", "a=2.0", "a=3.0", "a=4.0", "a=5.0"];
    seen.read(&mut source, |seen| seen.rows.len() == want.len());
    assert_eq!(seen.rows, want);
    // The same after a restart behind the first row.
    let options = FileOptions {
        positions: vec![position],
        ..options
    };
    let mut source = FileSource::open(&context(wire(WireFormat::Csv)), &options).unwrap();
    let mut again = Seen::default();
    again.read(&mut source, |seen| seen.rows.len() == want.len() - 1);
    assert_eq!(again.rows, want[1..]);
    assert!(source.notes().is_empty());
    // What became of a file that is gone is said, once.
    fs::remove_file(file("a.csv.3")).unwrap();
    let mut source = FileSource::open(&context(wire(WireFormat::Csv)), &options).unwrap();
    assert!(source.notes()[0].contains("has gone"));
    assert!(source.notes().is_empty());
}

#[test]
fn another_compressed_file_of_the_same_name_is_read_from_its_start() {
    let place = Place::new();
    let packed = |rows: &str| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(rows.as_bytes()).unwrap();
        packer.finish().unwrap()
    };
    place.write("in.csv.gz", packed("ts,a\n1000,1\n2000,2\n"));
    assert_eq!(rows_in(&place, "\"in.csv.gz\"", "").0, 2);
    assert_eq!(rows_in(&place, "\"in.csv.gz\"", "").0, 2);
    place.write("next.gz", packed("ts,a\n3000,1\n4000,2\n5000,3\n"));
    fs::rename(place.path("next.gz"), place.path("in.csv.gz")).unwrap();
    let (rows, said) = rows_in(&place, "\"in.csv.gz\"", "");
    assert_eq!(rows, 5, "{said}");
    assert!(said.contains("another file"), "{said}");
}

#[test]
fn a_journal_that_is_not_used_for_a_while_is_not_counted_again() {
    let place = Place::new();
    let mut total = 0;
    for (journal, rows) in [(true, 3), (false, 2), (true, 4), (true, 1), (false, 1), (true, 1)] {
        let config = format!(
            "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n[window]\nsize = \"1h\"\n\
             [state]\ndirectory = \"state\"\njournal = {journal}\n[server]\nlisten = \"127.0.0.1:0\"\n"
        );
        place.write("run.toml", config);
        let mut run = Running::start(&place, &["run", "run.toml"]);
        let metrics = run.address("metrics on ");
        let page = metrics
            .strip_prefix("http://")
            .unwrap()
            .strip_suffix("/metrics")
            .unwrap();
        let address = run.address("listens on tcp ");
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket
            .write_all(format!("a\n{}", "1\n".repeat(rows)).as_bytes())
            .unwrap();
        drop(socket);
        total += rows;
        let line = format!("millstream_rows_in_total{{feed=\"main\"}} {total}\n");
        wait_for(&line, || {
            get(page.parse().unwrap(), "/metrics", &[]).body.contains(&line)
        });
        let said = run.end_by("-TERM");
        assert!(said.contains(&format!("rows in {total} =")), "{said}");
    }
}
