//! Files as feeds: the same rows as the readers of files give, followed, rotated, cut short, and resumed anywhere.

use crate::feed_support::{Seen, context, show, wire};
use crate::support::data;
use millstream::io::follow::{FileOptions, FileSource};
use millstream::io::live::{ColumnType, WireFormat, WireOptions};
use millstream::io::stdin::StdinSource;
use millstream::io::{BadRows, Position, Read, ReadOptions, Source, TimeUnit};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

fn whole(path: &Path) -> FileOptions {
    FileOptions {
        paths: vec![path.to_owned()],
        ..FileOptions::default()
    }
}

fn following(path: &Path) -> FileOptions {
    FileOptions {
        follow: true,
        ..whole(path)
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// What the reader of files gives: rows as text, bad rows.
fn read_as_file(path: &Path, wire: &WireOptions) -> (Vec<String>, Vec<millstream::error::BadRow>, String) {
    let options = ReadOptions {
        bad_rows: BadRows::Skip,
        ..wire.read_options()
    };
    let mut source = millstream::io::open(&[path.to_owned()], &options).unwrap();
    let schema = format!("{:?}", source.schema());
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    while let Read::Batch(got, _) = source.read().unwrap() {
        rows.extend((0..got.batch.num_rows()).map(|row| show(&got.batch, row)));
        bad.extend(got.rejected);
    }
    (rows, bad, schema)
}

#[test]
fn files_give_what_the_reader_of_files_gives() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    // Text that shows only behind the rows that settle the columns, beyond ten thousand and beyond 8 MiB.
    let late = format!("a,b\n{}x,2\n3,4\n", "1,2\n".repeat(20_000));
    let wide = format!("a,b\n{}3,y\nx,4\n", format!("1,{}\n", "0".repeat(2000)).repeat(4300));
    let mut cases: Vec<(PathBuf, WireFormat)> = vec![
        (data("examples/data").join("seattle-weather.csv"), WireFormat::Csv),
        (data("examples/data").join("penguins.json"), WireFormat::Ndjson),
        (path("late.csv", late.as_bytes()), WireFormat::Csv),
        (path("wide.csv", wide.as_bytes()), WireFormat::Csv),
        (path("tabs.tsv", b"a\tb\n1\t2,5\n"), WireFormat::Csv),
        (path("head.csv", b"a,b\n"), WireFormat::Csv),
        (
            path(
                "odd.csv",
                b"\xef\xbb\xbf\n\na,\"b\n\",,d\r\n1,2\n\n1,x,3,\"4\n5\"\n\xff,1,2,3\n,NA,5,\"q\"\"\"",
            ),
            WireFormat::Csv,
        ),
        (
            path(
                "odd.ndjson",
                b"{\"a\":1,\"b\":[1]}\n\n{\"c\":\"x\"}\n{\"a\":\"y\"}\n{\"a\":true}\n[]\n{\"a\":\"NaN\"}",
            ),
            WireFormat::Ndjson,
        ),
        (
            path("array.json", b" [{\"a\":1},\n{\"a\":2.5,\"b\":\"x\"}]"),
            WireFormat::Ndjson,
        ),
    ];
    let seeds = data("fuzz/seeds");
    for (kind, format) in [("csv", WireFormat::Csv), ("ndjson", WireFormat::Ndjson)] {
        for entry in std::fs::read_dir(seeds.join(kind)).unwrap() {
            // The first bytes of a seed are flags.
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let text = &bytes[if kind == "csv" { 3 } else { 2 }..];
            let number = cases.len();
            cases.push((path(&format!("{number}.{kind}"), text), format));
        }
    }
    let mut compared = 0;
    for (path, format) in cases {
        let wire = wire(format);
        if millstream::io::open(&[path.clone()], &wire.read_options()).is_err() {
            continue;
        }
        let (rows, bad, schema) = read_as_file(&path, &wire);
        let context = context(wire);
        let mut source = FileSource::open(&context, &whole(&path)).unwrap();
        assert_eq!(format!("{:?}", source.schema()), schema, "{}", path.display());
        let seen = Seen::to_end(&mut source);
        assert_eq!(seen.rows, rows, "{}", path.display());
        assert_eq!(seen.bad, bad, "{}", path.display());
        compared += rows.len();
    }
    assert!(compared > 30_000, "{compared} rows");
}

#[test]
fn a_file_is_resumed_behind_every_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let lines = [
        "k,x,s\n",
        "1,2,a\n",
        "\n",
        "2,bad,b\n",
        "3,4,\"c\nd\"\n",
        "4,5,e\r\n",
        "5,6,f",
    ];
    std::fs::write(&path, lines.concat()).unwrap();
    let mut wire = wire(WireFormat::Csv);
    wire.types = [("x".into(), ColumnType::F64)].into();
    let all = Seen::to_end(&mut FileSource::open(&context(wire.clone()), &whole(&path)).unwrap());
    assert_eq!((all.rows.len(), all.bad.len()), (4, 1));
    let end = all.positions.last().unwrap().0;
    assert_eq!((end.rows, end.offset_bytes), (5, lines.concat().len() as u64));
    let rows_before = [0, 1, 1, 2, 3, 4, 5];
    for (i, rows) in rows_before.into_iter().enumerate() {
        let offset = lines[..=i].concat().len() as u64;
        let mut options = whole(&path);
        options.positions = vec![Position {
            rows,
            offset_bytes: offset,
            ..end
        }];
        let mut source = FileSource::open(&context(wire.clone()), &options).unwrap();
        let seen = Seen::to_end(&mut source);
        let good_before = if rows >= 2 { rows as usize - 1 } else { rows as usize };
        assert_eq!(seen.rows, all.rows[good_before..], "behind line {}", i + 1);
        assert_eq!(seen.bad, all.bad[usize::from(rows >= 2)..], "behind line {}", i + 1);
        if let Some((last, _)) = seen.positions.last() {
            assert_eq!(*last, end);
        }
        assert_eq!(source.restarts(), 0);
    }
}

#[test]
fn a_followed_file_is_read_as_it_grows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let context = context(wire(WireFormat::Csv));
    let mut source = FileSource::open(&context, &following(&path)).unwrap();
    assert!(matches!(source.read().unwrap(), Read::Idle));
    let mut seen = Seen::default();
    append(&path, "a,b\n1,2\n3,");
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    append(&path, "4\n");
    seen.read(&mut source, |seen| seen.rows.len() == 2);
    assert_eq!(seen.rows, ["a=1.0 b=2.0", "a=3.0 b=4.0"]);
    context.stop.stop();
    seen.read(&mut source, |_| false);
    assert!(seen.ended);
}

#[test]
fn rotation_loses_nothing_and_neither_does_a_restart_in_between() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("a.csv"), directory.path().join("a.csv.1"));
    append(&path, "a,b\n1,2\n");
    let first = context(wire(WireFormat::Csv));
    let mut source = FileSource::open(&first, &following(&path)).unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    let position = seen.positions[0].0;
    std::fs::rename(&path, &old).unwrap();
    // The writer goes on with the old file for a while, and leaves a last line without an end.
    append(&old, "3,4\n");
    append(&path, "b,a\n8,7\n");
    append(&old, "5,6");
    seen.read(&mut source, |seen| seen.rows.len() == 4);
    let want = ["a=1.0 b=2.0", "a=3.0 b=4.0", "a=5.0 b=6.0", "a=7.0 b=8.0"];
    assert_eq!(seen.rows, want);
    assert_eq!(seen.positions.last().unwrap().0.rows, 4);
    assert_ne!(seen.positions.last().unwrap().0.generation, position.generation);
    // After a restart the old file is found under its new name.
    let second = context(wire(WireFormat::Csv));
    let mut options = following(&path);
    options.positions = vec![position];
    let mut source = FileSource::open(&second, &options).unwrap();
    let mut again = Seen::default();
    again.read(&mut source, |seen| seen.rows.len() == 3);
    assert_eq!(again.rows, want[1..]);
    assert_eq!(again.positions.last().unwrap().0, seen.positions.last().unwrap().0);
    assert_eq!(source.restarts(), 0);
    // Where it is gone, that is said.
    std::fs::remove_file(&old).unwrap();
    let mut source = FileSource::open(&context(wire(WireFormat::Csv)), &options).unwrap();
    assert_eq!(source.restarts(), 1);
    assert!(source.about().hint.unwrap().contains("has gone"));
    let mut rest = Seen::default();
    rest.read(&mut source, |seen| seen.rows.len() == 1);
    assert_eq!(rest.rows, ["b=8.0 a=7.0"]);
}

#[test]
fn a_file_that_is_cut_short_begins_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    append(&path, "a,b\n1,2\n3,4\n5,");
    let mut source = FileSource::open(&context(wire(WireFormat::Csv)), &following(&path)).unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 2);
    let position = seen.positions.last().unwrap().0;
    File::create(&path).unwrap();
    append(&path, "a,b\n7,8\n");
    seen.read(&mut source, |seen| seen.rows.len() == 3);
    assert_eq!(seen.rows[2], "a=7.0 b=8.0");
    assert_eq!(seen.bad.len(), 1);
    assert_eq!(source.restarts(), 1);
    let last = seen.positions.last().unwrap().0;
    assert_eq!((last.rows, last.offset_bytes), (4, 8));
    // The same is seen after a restart.
    let mut options = following(&path);
    options.positions = vec![position];
    let mut source = FileSource::open(&context(wire(WireFormat::Csv)), &options).unwrap();
    assert_eq!(source.restarts(), 1);
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    assert_eq!(seen.rows, ["a=7.0 b=8.0"]);
}

#[test]
fn several_files_take_turns_and_are_partitions() {
    let directory = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = ["a.csv", "b.csv"]
        .iter()
        .map(|name| directory.path().join(name))
        .collect();
    append(&paths[0], "a,b\n1,2\n");
    append(&paths[1], "b,a\n3,4\n5,6\n");
    let options = FileOptions {
        paths: paths.clone(),
        ..FileOptions::default()
    };
    let seen = Seen::to_end(&mut FileSource::open(&context(wire(WireFormat::Csv)), &options).unwrap());
    let mut rows = seen.rows.clone();
    rows.sort();
    assert_eq!(rows, ["a=1.0 b=2.0", "a=4.0 b=3.0", "a=6.0 b=5.0"]);
    let mut ends: Vec<_> = seen
        .positions
        .iter()
        .map(|(p, _)| (p.partition, p.rows, p.offset_bytes))
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [(0, 1, 8), (1, 2, 12)]);
}

#[test]
fn what_cannot_be_read_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let code = |options: &FileOptions, wire: WireOptions| match FileSource::open(&context(wire), options) {
        Ok(_) => 0,
        Err(error) => error.exit_code(),
    };
    assert_eq!(code(&whole(&directory.path().join("none")), wire(WireFormat::Csv)), 66);
    assert_eq!(code(&whole(directory.path()), wire(WireFormat::Csv)), 66);
    assert_eq!(code(&whole(&path("empty.csv", "")), wire(WireFormat::Csv)), 65);
    assert_eq!(code(&FileOptions::default(), wire(WireFormat::Csv)), 78);
    assert_eq!(code(&following(&path("a.csv.gz", "x")), wire(WireFormat::Csv)), 78);
    assert_eq!(code(&whole(&path("a.bin", "x")), wire(WireFormat::Binary)), 78);
    let mut lacking = wire(WireFormat::Csv);
    lacking.wanted = Some(vec!["z".into()]);
    assert_eq!(code(&whole(&path("a.csv", "a,b\n1,2\n")), lacking), 65);
}

#[test]
fn compressed_files_are_resumed_by_their_rows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv.gz");
    let mut encoder = flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast());
    encoder.write_all(b"t,a\n1,2\n2,3\n3,4\n").unwrap();
    encoder.finish().unwrap();
    let mut wire = wire(WireFormat::Csv);
    wire.time = Some(("t".into(), TimeUnit::Nanoseconds));
    let all = Seen::to_end(&mut FileSource::open(&context(wire.clone()), &whole(&path)).unwrap());
    assert_eq!(all.rows, ["t=1ns a=2.0", "t=2ns a=3.0", "t=3ns a=4.0"]);
    for rows in 0..=3 {
        let mut options = whole(&path);
        options.positions = vec![Position {
            rows,
            ..Position::default()
        }];
        let seen = Seen::to_end(&mut FileSource::open(&context(wire.clone()), &options).unwrap());
        assert_eq!(seen.rows, all.rows[rows as usize..]);
    }
}

#[test]
fn standard_input_is_read_as_it_comes() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let context = context(wire(WireFormat::Ndjson));
    let mut source = StdinSource::from_reader(&context, reader).unwrap();
    let mut seen = Seen::default();
    writer.write_all(b"{\"a\":1}\n{\"a\":").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    writer.write_all(b"2}\n{\"a\":3}").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 2);
    drop(writer);
    seen.read(&mut source, |_| false);
    // The last line counts without an end, as in a file.
    assert_eq!(seen.rows, ["a=1.0", "a=2.0", "a=3.0"]);
    let (reader, _writer) = std::io::pipe().unwrap();
    let mut source = StdinSource::from_reader(&context, reader).unwrap();
    assert!(matches!(source.read().unwrap(), Read::Idle));
    context.stop.stop();
    assert!(Seen::to_end(&mut source).rows.is_empty());
}
