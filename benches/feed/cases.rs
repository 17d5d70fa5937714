//! What is measured: formats, ways in, columns, and what is asked of the engine.

use std::path::Path;

/// How rows get to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Http,
    File,
}

/// One feed and one question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) transport: Transport,
    pub(crate) format: &'static str,
    pub(crate) columns: usize,
    pub(crate) covariance: bool,
    /// Mean and standard deviation of every column.
    pub(crate) law: (&'static str, &'static str),
    /// The interval of checkpoints.
    pub(crate) checkpoint: Option<&'static str>,
    /// Whether half of the rate is measured too.
    pub(crate) half: bool,
    /// It takes this share of the rows, so that no case lasts much longer than the others.
    pub(crate) share: u64,
    /// Windows that a run closes, about.
    pub(crate) windows: u64,
}

const EIGHT: Case = Case {
    name: "",
    transport: Transport::Tcp,
    format: "binary",
    columns: 8,
    covariance: false,
    law: ("20", "2"),
    checkpoint: None,
    half: true,
    share: 1,
    windows: WINDOWS,
};

/// The cases, in the order of the table.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "binary",
        ..EIGHT
    },
    Case {
        name: "arrow",
        format: "arrow",
        ..EIGHT
    },
    Case {
        name: "csv",
        format: "csv",
        share: 4,
        ..EIGHT
    },
    Case {
        name: "http arrow",
        transport: Transport::Http,
        format: "arrow",
        share: 2,
        ..EIGHT
    },
    Case {
        name: "binary, 1e9 ± 1",
        law: ("1e9", "1"),
        half: false,
        ..EIGHT
    },
    Case {
        name: "binary, checkpoint every 1 s",
        checkpoint: Some("1s"),
        half: false,
        ..EIGHT
    },
    Case {
        name: "binary, 64 columns, covariance",
        columns: 64,
        covariance: true,
        half: false,
        // Windows of a million rows, as the others have.
        share: 4,
        windows: 5,
        ..EIGHT
    },
    Case {
        name: "binary, 64 columns, covariance, short windows",
        columns: 64,
        covariance: true,
        half: false,
        share: 4,
        // Ten where there was one: a hundred thousand rows each.
        windows: 50,
        ..EIGHT
    },
    Case {
        name: "csv file",
        transport: Transport::File,
        format: "csv",
        half: false,
        share: 4,
        ..EIGHT
    },
];

/// Keys of every feed.
pub(crate) const KEYS: u32 = 100;

/// The window of every question.
pub(crate) const WINDOW: &str = "1s";

/// Windows that a run closes, about: enough that 1 in 100 of their reports is a number.
pub(crate) const WINDOWS: u64 = 20;

/// Event time from row to row in nanoseconds, so that so many rows have so many windows.
pub(crate) fn step_ns(rows: u64, windows: u64) -> u64 {
    (windows * 1_000_000_000 / rows.max(1)).max(1)
}

impl Case {
    /// The names of the columns of values.
    pub(crate) fn names(&self) -> Vec<String> {
        (0..self.columns).map(|i| format!("c{i}")).collect()
    }

    /// The configuration of `millstream run` for this case.
    pub(crate) fn configuration(&self, port: u16, folder: &Path) -> String {
        let list = |names: &[&str]| format!("{names:?}");
        let owned = self.names();
        let values: Vec<&str> = owned.iter().map(String::as_str).collect();
        let way = match self.transport {
            Transport::Tcp => format!("type = \"tcp\"\nlisten = \"127.0.0.1:{port}\""),
            Transport::Http => format!("type = \"http\"\nlisten = \"127.0.0.1:{port}\""),
            Transport::File => format!("type = \"file\"\npath = {:?}", folder.join("feed.csv")),
        };
        // Binary has no names of its own.
        let names = match self.format {
            "binary" => format!("columns = {}\n", list(&[&["ts", "key"], &values[..]].concat())),
            _ => String::new(),
        };
        let state = self.checkpoint.map_or(String::new(), |interval| {
            format!(
                "[state]\ndirectory = {:?}\ninterval = \"{interval}\"\n",
                folder.join("state")
            )
        });
        format!(
            "[feed]\nname = \"main\"\n{way}\nformat = \"{}\"\n{names}\n\
             [rows]\ntime = \"ts\"\ntime_unit = \"ms\"\nkey = [\"key\"]\ncolumns = {}\n\n\
             [window]\nsize = \"{WINDOW}\"\n\n\
             [statistics]\nmoments = true\norder = 2\ncovariance = {}\n\n\
             [[sink]]\ntype = \"stdout\"\nformat = \"ndjson\"\n\n{state}",
            self.format,
            list(&values),
            self.covariance
        )
    }
}
