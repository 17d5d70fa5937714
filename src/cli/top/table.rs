//! The table of feeds: on a terminal, and as text.

use crate::metrics::{Activity, Snapshot};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Row, Table};

/// What is shown.
#[derive(Debug)]
pub(super) struct View {
    url: String,
    feeds: Vec<Activity>,
    /// Memory, uptime and checkpoint of the process.
    process: String,
    pub(super) sort: Sort,
    pub(super) is_paused: bool,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
}

/// By which column feeds are sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// As the program has them.
    Given,
    RowsIn,
    Latency,
    Lag,
    Late,
    Quarantined,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Given => Self::RowsIn,
            Self::RowsIn => Self::Latency,
            Self::Latency => Self::Lag,
            Self::Lag => Self::Late,
            Self::Late => Self::Quarantined,
            Self::Quarantined => Self::Given,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Given => "feed order",
            Self::RowsIn => "rows in",
            Self::Latency => "p99",
            Self::Lag => "lag",
            Self::Late => "late",
            Self::Quarantined => "bad",
        }
    }

    /// What comes first is largest.
    fn of(self, feed: &Activity) -> f64 {
        match self {
            Self::Given => 0.0,
            Self::RowsIn => feed.rows_in_per_second,
            Self::Latency => feed.latency_p99_seconds.unwrap_or(-1.0),
            Self::Lag => feed.lag_seconds.unwrap_or(f64::NEG_INFINITY),
            Self::Late => feed.late,
            Self::Quarantined => feed.quarantined,
        }
    }
}

/// The columns, and how wide they are at least.
const COLUMNS: [(&str, u16); 10] = [
    ("feed", 8),
    ("rows in/s", 9),
    ("out/s", 7),
    ("p50", 7),
    ("p99", 7),
    ("backend", 7),
    ("lag", 7),
    ("late", 7),
    ("bad", 7),
    ("windows", 7),
];

impl View {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            feeds: Vec::new(),
            process: String::new(),
            sort: Sort::Given,
            is_paused: false,
            trouble: None,
        }
    }

    /// Takes a new look, so many seconds behind the one before.
    pub(super) fn update(&mut self, now: &Snapshot, before: &Snapshot, seconds: f64) {
        self.feeds = now.since(before, seconds);
        self.trouble = None;
        let parts = [
            now.resident_bytes
                .map(|bytes| format!("memory {} MiB", (bytes / f64::from(1 << 20)).round())),
            now.uptime_seconds.map(|seconds| format!("up {}", time(seconds))),
            now.checkpoint_age_seconds
                .map(|seconds| format!("checkpoint {} ago", time(seconds))),
        ];
        self.process = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    }

    /// The cells, row by row.
    fn cells(&self) -> Vec<[String; COLUMNS.len()]> {
        let mut feeds: Vec<&Activity> = self.feeds.iter().collect();
        feeds.sort_by(|a, b| self.sort.of(b).total_cmp(&self.sort.of(a)));
        let optional = |seconds: Option<f64>| seconds.map_or_else(|| "-".into(), time);
        let cells = |feed: &Activity| {
            [
                feed.feed
                    .chars()
                    .map(|c| if c.is_control() { '?' } else { c })
                    .collect(),
                count(feed.rows_in_per_second),
                count(feed.rows_out_per_second),
                optional(feed.latency_p50_seconds),
                optional(feed.latency_p99_seconds),
                feed.backend.clone(),
                optional(feed.lag_seconds),
                count(feed.late),
                count(feed.quarantined),
                count(feed.open_windows),
            ]
        };
        feeds.into_iter().map(cells).collect()
    }

    /// What stands above the table.
    fn title(&self) -> String {
        let state = if self.is_paused { ", paused" } else { "" };
        format!("{}  {}{state}", self.url, self.process)
    }

    /// Draws it.
    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [title, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
        frame.render_widget(Line::raw(self.title()), title);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let aligned = |i: usize, text: String| {
            let line = Line::raw(text);
            Cell::from(if i == 0 { line } else { line.right_aligned() })
        };
        let header = COLUMNS
            .iter()
            .enumerate()
            .map(|(i, (name, _))| aligned(i, (*name).into()));
        let rows = self.cells().into_iter().map(|cells| {
            let cells = cells.into_iter().enumerate();
            Row::new(cells.map(|(i, cell)| aligned(i, cell)))
        });
        let widths = COLUMNS.iter().enumerate().map(|(i, (_, width))| match i {
            0 => Constraint::Min(*width),
            _ => Constraint::Length(*width),
        });
        frame.render_widget(Table::new(rows, widths).header(Row::new(header).style(bold)), body);
        let keys = format!("s sort ({})  p pause  q quit", self.sort.name());
        let foot_text = self
            .trouble
            .as_deref()
            .map_or(keys, |trouble| format!("{trouble}  q quit"));
        frame.render_widget(Line::raw(foot_text), foot);
    }

    /// The same as text.
    pub(super) fn text(&self) -> String {
        let cells = self.cells();
        let header = COLUMNS.map(|(name, _)| name.to_owned());
        let all = || std::iter::once(&header).chain(&cells);
        let width = |i: usize| all().map(|row| row[i].chars().count()).max().unwrap_or(0);
        let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
        let mut text = self.title() + "\n";
        for row in all() {
            let mut line = format!("{:<1$}", row[0], widths[0]);
            for (cell, width) in row.iter().zip(widths).skip(1) {
                line += &format!("  {cell:>width$}");
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// A number in at most six characters.
fn count(number: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    // What would round to a thousand of a unit is one of the next.
    match units.iter().find(|(unit, _)| number >= unit * 0.9995) {
        Some((unit, name)) => {
            let shown = number / unit;
            let decimals = if shown < 9.995 { 2 } else { usize::from(shown < 99.95) };
            format!("{shown:.decimals$}{name}")
        }
        None => format!("{}", number.round()),
    }
}

/// A time in at most seven characters.
fn time(seconds: f64) -> String {
    let size = seconds.abs();
    if size < 0.000_999_5 {
        format!("{:.0} us", seconds * 1e6)
    } else if size < 0.009_95 {
        format!("{:.1} ms", seconds * 1e3)
    } else if size < 0.999_5 {
        format!("{:.0} ms", seconds * 1e3)
    } else if size < 99.95 {
        format!("{seconds:.1} s")
    } else if size < 5_970.0 {
        format!("{:.0} min", seconds / 60.0)
    } else if size < 172_000.0 {
        format!("{:.0} h", seconds / 3_600.0)
    } else {
        format!("{:.0} d", seconds / 86_400.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn feed(name: &str, rows: f64, p99: Option<f64>) -> Activity {
        Activity {
            feed: name.into(),
            backend: "cpu".into(),
            rows_in_per_second: rows,
            rows_out_per_second: 12.0,
            latency_p50_seconds: p99.map(|p99| p99 / 4.0),
            latency_p99_seconds: p99,
            lag_seconds: None,
            late: 7.0,
            quarantined: 0.0,
            open_windows: 100.0,
        }
    }

    fn view() -> View {
        View {
            feeds: vec![
                feed("slow", 10.0, Some(1.5)),
                feed("fast", 12.3e6, Some(0.008)),
                feed("idle", 0.0, None),
            ],
            process: "memory 42 MiB, up 3.0 s".into(),
            ..View::new("http://127.0.0.1:7401/metrics")
        }
    }

    fn drawn(view: &View) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(96, 6)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| {
            let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..buffer.area.height).map(line).collect()
    }

    #[test]
    fn the_table_on_a_terminal() {
        let mut view = view();
        let lines = drawn(&view);
        assert_eq!(lines[0], "http://127.0.0.1:7401/metrics  memory 42 MiB, up 3.0 s");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            words(&lines[1]).join(" "),
            "feed rows in/s out/s p50 p99 backend lag late bad windows"
        );
        assert_eq!(words(&lines[2]).join(" "), "slow 10 12 375 ms 1.5 s cpu - 7 0 100");
        assert_eq!(words(&lines[3]).join(" "), "fast 12.3M 12 2.0 ms 8.0 ms cpu - 7 0 100");
        assert_eq!(words(&lines[4]).join(" "), "idle 0 12 - - cpu - 7 0 100");
        assert_eq!(lines[5], "s sort (feed order)  p pause  q quit");
        // Numbers end below the ends of their names.
        assert!(lines[1].ends_with("windows") && lines[2].ends_with("100") && lines[1].len() == lines[2].len());
        view.sort = view.sort.next();
        view.is_paused = true;
        view.trouble = Some("nothing answers".into());
        let lines = drawn(&view);
        let first: Vec<String> = lines[2..5].iter().map(|line| words(line)[0].clone()).collect();
        assert_eq!(first, ["fast", "slow", "idle"]);
        assert!(lines[0].ends_with("paused"), "{}", lines[0]);
        assert_eq!(lines[5], "nothing answers  q quit");
    }

    #[test]
    fn every_order_comes_and_the_first_comes_again() {
        let mut sort = Sort::Given;
        let mut names = Vec::new();
        loop {
            names.push(sort.name());
            sort = sort.next();
            if sort == Sort::Given {
                break;
            }
        }
        assert_eq!(names, ["feed order", "rows in", "p99", "lag", "late", "bad"]);
    }

    #[test]
    fn the_table_as_text() {
        let text = view().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            lines[1],
            "feed  rows in/s  out/s     p50     p99  backend  lag  late  bad  windows"
        );
        assert_eq!(
            lines[3],
            "fast      12.3M     12  2.0 ms  8.0 ms      cpu    -     7    0      100"
        );
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (999_600.0, "1.00M"),
            (123.4e6, "123M"),
            (5e12, "5.00T"),
        ] {
            assert_eq!(count(number), text);
        }
        for (seconds, text) in [
            (0.000_5, "500 us"),
            (0.001_5, "1.5 ms"),
            (0.25, "250 ms"),
            (1.25, "1.2 s"),
            (-3.0, "-3.0 s"),
            (600.0, "10 min"),
            (7_200.0, "2 h"),
            (864_000.0, "10 d"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
