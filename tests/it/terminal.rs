//! What shows on a terminal only: the progress bar, its patience, and the width.

use crate::command::Place;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Feeds rows for `time` and gives what the command wrote.
fn slowly(mut command: Command, time: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A batch is a MiB of text.
            let rows = "1.25,2.5\n".repeat(250_000);
            pipe.write_all(b"a,b\n").unwrap();
            for _ in 0..4 {
                pipe.write_all(rows.as_bytes()).unwrap();
                sleep(time / 4);
            }
        });
        child.wait_with_output().unwrap()
    })
}

#[test]
fn there_is_no_bar_where_there_is_no_terminal() {
    let place = Place::new();
    let output = slowly(place.command(&["analyze", "-"]), Duration::from_millis(1200));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("1000000 rows"));
}

/// `script` of util-linux gives the command a terminal for its standard error; what came over it is in the typescript.
#[cfg(target_os = "linux")]
#[test]
fn a_bar_shows_on_a_terminal_when_half_a_second_is_over() {
    let place = Place::new();
    let on_a_terminal = |time: Duration| {
        let command = format!("{} analyze - <&3 >report.txt", env!("CARGO_BIN_EXE_millstream"));
        let mut script = Command::new("sh");
        script
            .args([
                "-c",
                "exec 3<&0; exec script -qec \"$0\" typescript </dev/null >/dev/null",
            ])
            .arg(&command)
            .current_dir(place.path("."))
            .env("TERM", "xterm");
        let output = slowly(script, time);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let report = std::fs::read_to_string(place.path("report.txt")).unwrap();
        assert!(report.starts_with("1000000 rows"), "{report}");
        String::from_utf8_lossy(&std::fs::read(place.path("typescript")).unwrap()).into_owned()
    };
    let shown = |text: &str| text.contains("B/s") || text.contains("\u{1b}[");
    let patient = on_a_terminal(Duration::from_millis(2000));
    assert!(shown(&patient), "{patient:?}");
    let hasty = on_a_terminal(Duration::ZERO);
    assert!(!shown(&hasty), "{hasty:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_tells_its_width() {
    let place = Place::new();
    let names: Vec<String> = (0..30).map(|i| format!("a_rather_long_column_name_{i}")).collect();
    let row = |x: usize| (0..30).map(|i| (x * i).to_string()).collect::<Vec<_>>().join(",");
    place.write(
        "wide.csv",
        format!("{}\n{}\n{}\n{}\n", names.join(","), row(1), row(3), row(4)),
    );
    let command = format!(
        "stty rows 30 cols 70; {} analyze wide.csv --stats correlation",
        env!("CARGO_BIN_EXE_millstream")
    );
    let output = Command::new("script")
        .args(["-qec", &command, "typescript"])
        .current_dir(place.path("."))
        .env("COLUMNS", "200")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let widest = text.lines().map(|line| line.trim_end().chars().count()).max().unwrap();
    assert!((50..=70).contains(&widest), "{widest}: {text}");
    assert!(
        text.contains('…') && text.contains("Correlation of 3 complete rows"),
        "{text}"
    );
}
