//! `millstream run` killed at any moment and started again: nothing is missing, nothing is there twice, and every digit is
//! that of a run that nothing disturbed.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::random::Random;
use crate::run_rows::lines;
use crate::runs::{
    PAGES, Running, clear, generate, is_right, is_right_bytes, kills, undisturbed, wait_for_rows, with_state,
};
use std::io::Write;
use std::time::Duration;

/// The steps of writing before and behind which a run can be made to crash.
const POINTS: [&str; 7] = [
    "sink-before-write",
    "sink-after-write",
    "checkpoint-before-write",
    "checkpoint-before-fsync",
    "checkpoint-before-rename",
    "checkpoint-after-rename",
    "checkpoint-after-fsync",
];

/// Killed again and again at random moments, the run leaves byte for byte what it leaves undisturbed.
#[test]
fn a_file_survives_kills_at_any_moment() {
    let kills = kills();
    let place = Place::new();
    generate(
        &place,
        "120000",
        &["--format", "csv", "-o", "feed.csv", "--bad-rows", "0.001"],
    );
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let whole = undisturbed(&place);
    is_right_bytes(&place, &whole);
    let mut random = Random::new(11);
    let mut killed = 0;
    for _ in 0..kills {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let millis = random.below(60);
        // If it has ended, or said something, a little earlier is as good a moment.
        if let Ok(line) = running.said.recv_timeout(Duration::from_millis(millis)) {
            running.heard.push(line);
        }
        if running.child.try_wait().unwrap().is_none() {
            killed += 1;
        }
        running.signal_if_running("-KILL");
        running.end();
    }
    assert!(killed > 0);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(
        std::fs::read(place.path("out.ndjson")).unwrap() == whole,
        "after {killed} kills: {}",
        ran.stderr
    );
    assert!(ran.stderr.contains("rows in 120000 = "), "{}", ran.stderr);
}

/// A crash before and after every step of writing: the next run goes on, and nothing is missing or twice.
#[test]
fn a_crash_at_every_step_loses_nothing() {
    let place = Place::new();
    generate(&place, "40000", &["--format", "csv", "-o", "feed.csv"]);
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let whole = undisturbed(&place);
    for point in POINTS {
        for skipped in [0, 1] {
            let mut command = place.command(&["run", "run.toml"]);
            command.env("FAILPOINTS", format!("{point}={skipped}*off->return"));
            let (status, said) = Running::begin(command).end();
            assert_ne!(status, 0, "{point} was not passed: {said}");
            assert!(!said.contains("done:"), "{said}");
        }
        let ran = place.run(&["run", "run.toml"]);
        assert_eq!(ran.status, 0, "{point}: {}", ran.stderr);
        assert!(
            std::fs::read(place.path("out.ndjson")).unwrap() == whole,
            "{point}: {}",
            ran.stderr
        );
        assert!(undisturbed_again(&place) == whole);
    }
}

/// Runs that end at random steps of writing, with what they leave damaged now and then: the newest checkpoint cut short
/// or changed, half a one beside it, half a report behind the reports. Every run that comes to its end leaves byte for byte
/// what one that nothing disturbs leaves.
#[test]
fn random_crashes_and_damage_lose_nothing() {
    let cases = std::env::var("MILLSTREAM_CASES").map_or(256, |n| n.parse().unwrap());
    let place = Place::new();
    generate(
        &place,
        "30000",
        &["--format", "csv", "-o", "feed.csv", "--bad-rows", "0.001"],
    );
    with_state(&place, "[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let whole = undisturbed(&place);
    is_right_bytes(&place, &whole);
    let mut random = Random::new(19);
    let (mut crashed, mut damaged, mut ended) = (0, 0, 0);
    // The checkpoint that is damaged; there is never more than one.
    let mut bad: Option<std::path::PathBuf> = None;
    for case in 0..cases {
        let point = POINTS[random.below(POINTS.len() as u64) as usize];
        let skipped = random.below(4);
        let mut command = place.command(&["run", "run.toml"]);
        command.env("FAILPOINTS", format!("{point}={skipped}*off->return"));
        let (status, said) = Running::begin(command).end();
        if status == 0 {
            ended += 1;
            assert!(
                std::fs::read(place.path("out.ndjson")).unwrap() == whole,
                "{case}: {said}"
            );
            assert!(said.contains("rows in 30000 = "), "{case}: {said}");
            clear(&place);
            bad = None;
            continue;
        }
        // It was ended by the crash, and by nothing else.
        assert!(status == -1 && !said.contains("error"), "{case} {point}: {said}");
        crashed += 1;
        let mut checkpoints: Vec<_> = std::fs::read_dir(place.path("state"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("checkpoint-0"))
            .collect();
        checkpoints.sort();
        if random.below(3) == 0 {
            let mut half = std::fs::read(checkpoints.last().unwrap_or(&place.path("feed.csv"))).unwrap();
            half.truncate(100);
            std::fs::write(place.path("state/checkpoint.tmp"), half).unwrap();
        }
        if random.below(3) == 0 {
            let mut out = std::fs::File::options()
                .append(true)
                .open(place.path("out.ndjson"))
                .unwrap();
            out.write_all(b"{\"key\":{\"key\":0},\"wind").unwrap();
        }
        bad = bad.filter(|bad| checkpoints.contains(bad));
        if checkpoints.len() > 1 && bad.is_none() && random.below(2) == 0 {
            let newest = checkpoints.pop().unwrap();
            let mut bytes = std::fs::read(&newest).unwrap();
            match random.below(2) {
                0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
                _ => {
                    let bit = random.below(8 * bytes.len() as u64) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            std::fs::write(&newest, bytes).unwrap();
            damaged += 1;
            bad = Some(newest);
        }
    }
    assert!(
        crashed > cases / 2 && damaged > cases / 10 && ended > 0,
        "{crashed} {damaged} {ended}"
    );
}

/// The place as new, and what an undisturbed run leaves.
fn undisturbed_again(place: &Place) -> Vec<u8> {
    clear(place);
    undisturbed(place)
}

/// More keys than there may be, so that windows come in parts: which ones depends on when rows came, and after a kill they
/// come at other times. The reports together are right all the same, and the database holds those and no others.
#[test]
fn parts_survive_a_kill() {
    let place = Place::new();
    let mut args = vec![
        "generate",
        "--rows",
        "12000",
        "--columns",
        "3",
        "--keys",
        "300",
        "--seed",
        "6",
    ];
    args.extend([
        "--step",
        "1ms",
        "--disorder",
        "300ms",
        "--window",
        "1s",
        "--lateness",
        "500ms",
    ]);
    args.extend(["--expect", "expected.ndjson", "-o", "all.csv"]);
    assert_eq!(place.run(&args).status, 0);
    let configure = |feed: &str| {
        with_state(&place, feed);
        let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
        let config = config.replace("[limits]\n", "[limits]\nkeys = 100\n");
        place.write("run.toml", config.replace("interval = \"1ms\"", "interval = \"1h\""));
    };
    let count = |what: &str| {
        let database = rusqlite::Connection::open(place.path("out.db")).unwrap();
        let sql = format!("SELECT count(*) FROM windows WHERE {what}");
        database.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // First in small pieces, and without another checkpoint than that of the beginning.
    configure(&format!(
        "[feed]\ntype = \"file\"\npath = \"feed.csv\"\nfollow = true\n{PAGES}"
    ));
    let text = std::fs::read_to_string(place.path("all.csv")).unwrap();
    let (header, rows) = lines(&text);
    let mut file = std::fs::File::create(place.path("feed.csv")).unwrap();
    writeln!(file, "{header}").unwrap();
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    for (number, piece) in (1..).zip(rows[..9000].chunks(300)) {
        file.write_all(piece.concat().as_bytes()).unwrap();
        wait_for_rows(pages, 300 * number);
    }
    wait_for("parts in the database", || count("part > 5") > 0);
    running.kill();
    // Then all at once.
    file.write_all(rows[9000..].concat().as_bytes()).unwrap();
    configure("[feed]\ntype = \"file\"\npath = \"feed.csv\"\n");
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let text = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let mut reported: Vec<(String, String, i64, i64)> = text
        .lines()
        .map(|line| {
            let report: serde_json::Value = serde_json::from_str(line).unwrap();
            let number = |name: &str| report[name].as_i64().unwrap();
            let start = report["window"]["start"].as_str().unwrap().to_owned();
            (start, report["key"].to_string(), number("part"), number("rows"))
        })
        .collect();
    let database = rusqlite::Connection::open(place.path("out.db")).unwrap();
    let all = |sql: &str| -> Vec<(String, String, i64, i64)> {
        let mut query = database.prepare(sql).unwrap();
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    reported.sort();
    assert!(reported.iter().any(|(_, _, part, _)| *part > 0));
    let order = "ORDER BY window_start, key, part";
    assert_eq!(
        all(&format!("SELECT window_start, key, part, rows FROM windows {order}")),
        reported
    );
    let of_column = "SELECT window_start, key, part, count + missing FROM column_statistics WHERE column_name = 'c1'";
    assert_eq!(all(&format!("{of_column} {order}")), reported);
}
