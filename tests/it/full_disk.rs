//! `millstream run` on a disk that is really full: a small file system in memory, which only the run sees. It says so, and
//! nothing is lost: when there is room, it goes on to the same bytes.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::runs::{PAGES, Running, counted, generate, is_right_bytes, undisturbed, wait_for_rows, with_state};
use std::path::Path;
use std::process::Command;

/// Runs the command where the directory `disk` is a file system of this size. When it has ended, what is on it is in
/// `disk` itself, if `copied`; where `room` appears, the file system becomes large.
const ON_A_DISK: &str = r#"
set -e
mount -t tmpfs -o "size=$1,mode=755" tmpfs disk || { echo "no file system can be mounted" >&2; exit 99; }
copied=$2
shift 2
if [ "$copied" = copied ]; then
    "$0" "$@" && status=0 || status=$?
    cp -a disk copy
    exit $status
fi
{ while [ ! -e room ] && kill -0 $$ 2>/dev/null; do sleep 0.02; done; [ ! -e room ] || mount -o remount,size=64m disk; } &
exec "$0" "$@"
"#;

fn on_a_disk(place: &Place, namespaces: &str, size: &str, copied: &str) -> Command {
    let plain = place.command(&[]);
    std::fs::create_dir_all(place.path("disk")).unwrap();
    let mut command = Command::new("unshare");
    command
        .args([namespaces, "sh", "-c", ON_A_DISK])
        .arg(plain.get_program())
        .args([size, copied, "run", "run.toml"])
        .current_dir(place.path("."))
        .env("MILLSTREAM_CACHE", "");
    command
}

/// The options of `unshare` with which this machine lets a test mount a file system. Where there are none nothing is
/// tried, and `scripts/test` says so.
fn namespaces() -> Option<&'static str> {
    let works = |options: &&str| {
        let mounts = Command::new("unshare")
            .args([options, "sh", "-c", "mount -t tmpfs -o size=16k tmpfs /mnt"])
            .output();
        mounts.is_ok_and(|mounts| mounts.status.success())
    };
    ["-rm", "-m"].into_iter().find(works)
}

fn on_disk(place: &Place) {
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let config = config
        .replace("directory = \"state\"", "directory = \"disk/state\"")
        .replace("\"bad.ndjson\"", "\"disk/bad.ndjson\"")
        .replace("\"out.ndjson\"", "\"disk/out.ndjson\"")
        .replace("\"out.db\"", "\"disk/out.db\"");
    place.write("run.toml", config);
}

/// Every row of every table, in order.
fn stored(path: &Path) -> Vec<String> {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut all = Vec::new();
    for table in ["windows", "column_statistics", "alerts"] {
        let mut query = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = query.column_count();
        let rows = query.query_map([], |row| {
            let values: Vec<_> = (0..columns).map(|i| row.get::<_, rusqlite::types::Value>(i)).collect();
            Ok(format!("{table} {values:?}"))
        });
        all.extend(rows.unwrap().map(Result::unwrap));
    }
    all.sort();
    all
}

/// Whatever it is that has no room first, the run ends with the reason or finds room by itself; with room it goes on, and
/// comes to the same bytes.
#[test]
fn what_has_no_room_is_there_when_there_is_room() {
    let Some(namespaces) = namespaces() else { return };
    let place = Place::new();
    generate(
        &place,
        "120000",
        &["--format", "csv", "-o", "feed.csv", "--bad-rows", "0.001"],
    );
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let database = stored(&place.path("out.db"));
    assert!(database.len() > 3000);
    std::fs::remove_dir_all(place.path("state")).unwrap();
    for name in ["out.ndjson", "out.db", "bad.ndjson"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    let whole = undisturbed(&place);
    is_right_bytes(&place, &whole);
    on_disk(&place);
    let mut failed = 0;
    for size in ["16k", "128k", "256k", "512k", "1m", "1500k", "2m"] {
        let (status, said) = Running::begin(on_a_disk(&place, namespaces, size, "copied")).end();
        std::fs::remove_dir(place.path("disk")).unwrap();
        std::fs::rename(place.path("copy"), place.path("disk")).unwrap();
        if status != 0 {
            failed += 1;
            assert_eq!(status, 74, "{size}: {said}");
            let error = said.lines().last().unwrap();
            assert!(
                error.starts_with("error: ") && error.contains("disk/"),
                "{size}: {said}"
            );
            // SQLite does not always say more.
            let why = ["No space left on device", "no room left on the disk", "disk I/O error"];
            assert!(why.iter().any(|why| error.contains(why)), "{size}: {said}");
            assert!(!said.contains("done:"), "{size}: {said}");
        }
        let ran = place.run(&["run", "run.toml"]);
        assert_eq!(ran.status, 0, "{size}: {said}\n{}", ran.stderr);
        assert!(ran.stderr.contains("rows in 120000 = "), "{size}: {}", ran.stderr);
        let found = std::fs::read(place.path("disk/out.ndjson")).unwrap();
        assert!(found == whole, "{size}: {said}\n{}", ran.stderr);
        assert!(
            stored(&place.path("disk/out.db")) == database,
            "{size}: {said}\n{}",
            ran.stderr
        );
        std::fs::remove_dir_all(place.path("disk")).unwrap();
    }
    assert!(failed > 4, "{failed} of the disks were too small");
}

/// While the journal has no room the senders wait; then they go on, and not a row is lost.
#[test]
fn senders_wait_while_the_journal_has_no_room() {
    let Some(namespaces) = namespaces() else { return };
    let place = Place::new();
    generate(&place, "60000", &["--format", "csv", "-o", "feed.csv"]);
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let whole = undisturbed(&place);
    is_right_bytes(&place, &whole);
    let tcp = format!("[feed]\ntype = \"tcp\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n{PAGES}");
    with_state(&place, &tcp);
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write(
        "run.toml",
        config.replace("directory = \"state\"", "directory = \"disk/state\""),
    );
    let mut running = Running::begin(on_a_disk(&place, namespaces, "1m", "exec"));
    let pages = running.pages();
    let address = running.address("listens on tcp");
    let bytes = std::fs::read(place.path("feed.csv")).unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    // What comes at once goes to the journal at once: first a little that has room.
    let begin = 40_000;
    std::io::Write::write_all(&mut socket, &bytes[..begin]).unwrap();
    wait_for("the first rows", || counted(pages, "rows_in_total") > 500);
    let sending = std::thread::spawn(move || std::io::Write::write_all(&mut socket, &bytes[begin..]).unwrap());
    running.says("journal-main cannot be written: No space left on device");
    wait_for("more writes that fail", || counted(pages, "journal_failures_total") > 3);
    let rows = counted(pages, "rows_in_total");
    assert!((500..60_000).contains(&rows), "{rows}");
    place.write("room", "");
    sending.join().unwrap();
    running.says("feed `main`: goes on");
    wait_for_rows(pages, 60_000);
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("rows in 60000 = aggregated 60000 "), "{said}");
    // The windows that are still open stay in the state.
    let found = std::fs::read(place.path("out.ndjson")).unwrap();
    assert!(
        whole.starts_with(&found) && found.len() > whole.len() / 10 * 9,
        "{} {}",
        found.len(),
        whole.len()
    );
}
