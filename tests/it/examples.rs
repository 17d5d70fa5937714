//! What a newcomer runs first: the programs in `examples/`, and every command that the README shows.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder that holds the binaries of this build.
fn build_folder() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().to_owned()
}

/// Runs an example in the root of the project and gives what it prints.
fn example(name: &str, arguments: &[&Path]) -> String {
    let program = build_folder().join("examples").join(name);
    assert!(
        program.exists(),
        "the example is not built: `cargo test` without --test does so, or `cargo build --examples`"
    );
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    succeeded(name, &output)
}

fn succeeded(what: &str, output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn quickstart_prints_what_the_numbers_come_to() {
    let text = example("quickstart", &[]);
    // 12.8 + 10.6 + 11.7 + 12.2 = 47.3; the median lies between 11.7 and 12.2.
    assert!(
        text.contains("temperature: 4 values, 1 missing, mean Some(11.825)"),
        "{text}"
    );
    assert!(text.contains("median Some(11.95)"), "{text}");
    assert!(text.contains("correlation in 4 rows"), "{text}");
}

#[test]
fn row_at_a_time_reports_on_the_way_and_at_the_end() {
    let text = example("row_at_a_time", &[]);
    // 2 + 149.5 / 240 and 2 + 299.5 / 240; the ripple has mean 0.
    assert!(text.contains("300 rows: mean level Some(2.6229166"), "{text}");
    assert!(text.contains("600 rows: mean level Some(3.2479166"), "{text}");
    assert!(text.contains("slope Some(0.2500"), "{text}");
}

#[test]
fn grouped_windows_prints_a_row_per_window_and_sensor() {
    let text = example("grouped_windows", &[]);
    let rows = |sensor: &str| text.lines().filter(|line| line.contains(sensor)).count();
    // Five windows hold rows; each has a line of statistics and one of differences.
    assert_eq!((rows("cellar"), rows("roof")), (10, 10), "{text}");
    // 8 + 0.01 t over t = 0 … 29.
    assert!(text.contains(" 8.145 "), "{text}");
}

#[test]
fn weather_regression_stores_weeks_and_fits_them() {
    let folder = tempfile::tempdir().unwrap();
    let weeks = folder.path().join("weeks.csv");
    let days = root().join("examples/data/seattle-weather.csv");
    let text = example("weather_regression", &[&days, &weeks]);
    let model: serde_json::Value = serde_json::from_str(&text).unwrap();
    let model = &model["models"][0];
    assert_eq!(model["target"], "temp_max");
    assert_eq!(model["rank"], 4);

    // The normal equations hold for what is stored: residuals are orthogonal to every term.
    let table = std::fs::read_to_string(&weeks).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("temp_max,temp_min,wind,warming"));
    // The last week has one day and no difference, so no place in the regression.
    let complete = |line: &str| line.split(',').map(|x| x.parse().ok()).collect();
    let rows: Vec<Vec<f64>> = lines.filter_map(complete).collect();
    assert_eq!(model["rows"], rows.len());
    let beta: Vec<f64> = (0..4).map(|i| model["coefficients"][i].as_f64().unwrap()).collect();
    for term in 0..4 {
        let x = |row: &[f64]| if term == 0 { 1.0 } else { row[term] };
        let residual = |row: &[f64]| row[0] - beta[0] - (1..4).map(|i| beta[i] * row[i]).sum::<f64>();
        let dot: f64 = rows.iter().map(|row| x(row) * residual(row)).sum();
        let size: f64 = rows.iter().map(|row| (x(row) * row[0]).abs()).sum();
        // Each of the sums has about 200 terms of a few roundings; 1000 ulp is far above them and far below a wrong
        // fit.
        assert!(dot.abs() <= 1000.0 * f64::EPSILON * size, "term {term}: {dot}");
    }
}

#[cfg(all(feature = "cli", unix))]
#[test]
fn every_command_of_the_readme_runs() {
    let readme = std::fs::read_to_string(root().join("README.md"))
        .unwrap()
        .replace("\\\n", " ");
    let commands: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("millstream ") && line.contains(" examples/"))
        .filter(|line| !line.starts_with("millstream run "))
        .collect();
    assert!(commands.len() >= 6, "{commands:?}");
    // What they write stays in a place of its own.
    let place = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("examples"), place.path().join("examples")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_millstream"));
    let path = std::env::join_paths([program.parent().unwrap()]).unwrap();
    for command in commands {
        let output = Command::new("/bin/sh")
            .args(["-c", command])
            .env("PATH", &path)
            .current_dir(place.path())
            .output()
            .unwrap();
        let text = succeeded(command, &output);
        assert!(
            command.contains(" -o ") || text.lines().count() > 3,
            "{command}: {text}"
        );
    }
    let predicted = std::fs::read_to_string(place.path().join("predicted.csv")).unwrap();
    assert!(
        predicted
            .lines()
            .next()
            .unwrap()
            .ends_with(",prediction,prediction_low,prediction_high")
    );
}

/// The two commands that show a feed, and what is asked of its database afterwards.
#[cfg(all(feature = "cli", feature = "sqlite", unix))]
#[test]
fn the_feed_of_the_readme_runs() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let readme = readme.replace("\\\n", " ");
    let command = |beginning: &str| {
        let line = readme.lines().find(|line| line.starts_with(beginning)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(place.path().join("examples/feed")).unwrap();
    let config = std::fs::read_to_string(root().join("examples/feed/feed.toml")).unwrap();
    // Another port than the one that a reader may be using.
    let config = config.replace("127.0.0.1:7400", "127.0.0.1:0");
    std::fs::write(place.path().join("examples/feed/feed.toml"), config).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_millstream"));
    let path = std::env::join_paths([program.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    let shell = |line: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", line]).env("PATH", &path).current_dir(place.path());
        shell
    };
    let run = format!("exec {}", command("millstream run "));
    let mut running = shell(&run)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listens on tcp") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended before it listened");
    }
    let address = line.split_whitespace().last().unwrap().to_owned();
    let stdout = BufReader::new(running.stdout.take().unwrap());
    let is_report = |line: &String| !line.starts_with("{\"alert\"");
    let reports = std::thread::spawn(move || stdout.lines().map_while(Result::ok).filter(is_report).count());
    let rest = std::thread::spawn(move || said.lines().map_while(Result::ok).collect::<Vec<_>>().join("\n"));
    let generate = command("millstream generate ").replace("127.0.0.1:7400", &address);
    assert!(shell(&generate).output().unwrap().status.success(), "{generate}");
    let stopped = Command::new("kill")
        .args(["-TERM", &running.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    assert!(running.wait().unwrap().success());
    let said = rest.join().unwrap();
    assert!(said.contains("rows in 1000000 = aggregated 1000000 "), "{said}");
    let reports = reports.join().unwrap();
    assert!(reports > 10_000, "{reports} reports");
    let database = rusqlite::Connection::open(place.path().join("stats.db")).unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM windows") as usize, reports);
    assert_eq!(count("SELECT sum(rows) FROM windows"), 1_000_000);
    let query = &readme[readme.find("SELECT window_start").unwrap()..];
    let query = &query[..query.find('"').unwrap()];
    let rows = database
        .prepare(query)
        .unwrap()
        .query_map([], |row| row.get::<_, String>(1))
        .unwrap()
        .count();
    assert_eq!(rows, 5);
    let merged = shell(&command("millstream merge stats.db")).output().unwrap();
    let text = succeeded("merge", &merged);
    assert!(text.contains("temperature"), "{text}");
}
