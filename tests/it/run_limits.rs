//! `millstream run` at its bounds: very many connections, and lines that do not end.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::run_rows::lines;
use crate::runs::{PAGES, ROWS, Running, counted, generate, is_right, wait_for_rows};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

/// Connections that are open and send no rows.
const IDLE: usize = 1000;

/// Lets this process, and those that it starts, have so many files open.
fn have_room_for_files(count: u64) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let soft = line.split_whitespace().next().unwrap();
    if soft == "unlimited" || soft.parse::<u64>().unwrap() >= count {
        return;
    }
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={count}:")])
        .status()
        .unwrap();
    assert!(
        raised.success(),
        "this test needs {count} open files: raise the hard limit (ulimit -Hn)"
    );
}

#[test]
fn a_thousand_idle_connections_disturb_nobody() {
    have_room_for_files(4096);
    let place = Place::new();
    let config = format!(
        "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{ROWS}{PAGES}\
         [limits]\nconnections = {}\nidle_connection = \"600s\"\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n",
        IDLE + 1
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let address = running.address("listens on tcp");
    let idle: Vec<TcpStream> = (0..IDLE)
        .map(|number| {
            let mut socket = TcpStream::connect(&address).unwrap();
            if number % 2 == 1 {
                socket.write_all(b"ts,key,c0,c1,c2\n").unwrap();
            }
            socket
        })
        .collect();
    // Seen though not a row has come.
    wait_for("the connections", || counted(pages, "connections") == IDLE as u64);
    generate(
        &place,
        "30000",
        &["--format", "csv", "--to", &format!("tcp://{address}")],
    );
    wait_for_rows(pages, 30_000);
    wait_for("the sender to be gone", || counted(pages, "connections") == IDLE as u64);
    assert_eq!(counted(pages, "refused_total"), 0);
    let peak = running.peak_bytes();
    assert!(peak < 512 << 20, "{peak} bytes");
    // Told to stop, it does not wait for them.
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("rows in 30000 = aggregated 30000 "), "{said}");
    is_right(&place, "out.ndjson");
    drop(idle);
}

/// A line far beyond what a line may have costs itself, little memory, and no other row.
#[test]
fn a_line_without_end_costs_little_memory_and_no_other_row() {
    let line_mib = std::env::var("MILLSTREAM_LINE_MIB").map_or(64, |n| n.parse().unwrap());
    for format in ["csv", "ndjson"] {
        let rows: Vec<String> = (0..200)
            .map(|i| match format {
                "csv" => format!("{},1,{i},2,3\n", 1_767_225_600_000i64 + i),
                _ => format!(
                    "{{\"ts\":{},\"key\":1,\"c0\":{i},\"c1\":2,\"c2\":3}}\n",
                    1_767_225_600_000i64 + i
                ),
            })
            .collect();
        let header = if format == "csv" { "ts,key,c0,c1,c2\n" } else { "" };
        for kind in ["tcp", "file"] {
            let place = Place::new();
            let feed = match kind {
                "tcp" => "listen = \"127.0.0.1:0\"",
                _ => "path = \"feed\"\nfollow = true",
            };
            let config = format!(
                "[feed]\ntype = \"{kind}\"\n{feed}\nformat = \"{format}\"\n{ROWS}{PAGES}\
                 [limits]\nquarantine = \"bad.ndjson\"\n[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
            );
            place.write("run.toml", config);
            let mut file = std::fs::File::create(place.path("feed")).unwrap();
            let mut running = Running::start(&place, &["run", "run.toml"]);
            let pages = running.pages();
            let mut socket;
            let sender: &mut dyn Write = match kind {
                "tcp" => {
                    socket = TcpStream::connect(running.address("listens on tcp")).unwrap();
                    &mut socket
                }
                _ => &mut file,
            };
            sender.write_all(header.as_bytes()).unwrap();
            sender.write_all(rows[..100].concat().as_bytes()).unwrap();
            wait_for_rows(pages, 100);
            let before = running.peak_bytes();
            let mib = vec![b'7'; 1 << 20];
            for _ in 0..line_mib {
                sender.write_all(&mib).unwrap();
            }
            sender.write_all(b"\n").unwrap();
            sender.write_all(rows[100..].concat().as_bytes()).unwrap();
            wait_for_rows(pages, 201);
            let grown = running.peak_bytes() - before;
            assert!(
                grown < 24 << 20,
                "{format} {kind}: {grown} bytes more for a line of {line_mib} MiB"
            );
            assert_eq!(counted(pages, "rows_quarantined_total"), 1);
            running.signal("-TERM");
            let (status, said) = running.end();
            assert_eq!(status, 0, "{said}");
            let report = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
            assert!(
                report.contains("\"rows\":200,") && report.contains("\"sum\":19900.0"),
                "{report}"
            );
            let bad = std::fs::read_to_string(place.path("bad.ndjson")).unwrap();
            assert!(bad.lines().count() == 1 && bad.len() < 10_000, "{} bytes", bad.len());
            assert!(bad.contains("[limits] line") || bad.contains("limits.line"), "{bad}");
        }
    }
}

/// More keys than there may be are reported in parts, which come to the exact reports together.
#[test]
fn parts_of_too_many_keys_come_to_the_exact_reports() {
    let place = Place::new();
    let mut args = vec![
        "generate",
        "--rows",
        "12000",
        "--columns",
        "3",
        "--keys",
        "400",
        "--seed",
        "6",
        "--step",
        "1ms",
    ];
    args.extend([
        "--disorder",
        "300ms",
        "--window",
        "2s",
        "--slide",
        "1s",
        "--lateness",
        "500ms",
    ]);
    args.extend(["--expect", "expected.ndjson", "-o", "feed.csv"]);
    assert_eq!(place.run(&args).status, 0);
    let rows = ROWS.replace("size = \"1s\"", "size = \"2s\"\nslide = \"1s\"");
    let config = format!(
        "[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{rows}{PAGES}[limits]\nkeys = 100\n\
         [[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n"
    );
    place.write("run.toml", config);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    let mut sender = TcpStream::connect(running.address("listens on tcp")).unwrap();
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let (header, rows) = lines(&text);
    writeln!(sender, "{header}").unwrap();
    // Piece by piece, so that keys have been seen at different times.
    for (number, piece) in (1..).zip(rows.chunks(300)) {
        sender.write_all(piece.concat().as_bytes()).unwrap();
        wait_for_rows(pages, 300 * number);
    }
    assert!(counted(pages, "keys") <= 100);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("windows were reported in parts"), "{said}");
    is_right(&place, "out.ndjson");
}
