//! What is measured, and what the project has set itself.

/// Where rows come from, or reports go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Kafka,
    Redis,
    Rabbitmq,
    Mqtt,
    Postgres,
}

impl Kind {
    /// What scripts/services calls it.
    pub(crate) fn server(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Mqtt => "mqtt",
            Self::Postgres => "postgres",
        }
    }
}

/// What a case is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// Rows a second.
    Rate(f64),
    /// Of what the bare consumer reaches.
    Share(f64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) format: &'static str,
    pub(crate) message_rows: usize,
    /// It takes this share of the rows, so that no case lasts much longer than the others.
    pub(crate) share: u64,
    pub(crate) target: Target,
}

const NDJSON: Case = Case {
    name: "",
    kind: Kind::Redis,
    format: "ndjson",
    message_rows: 100,
    share: 4,
    target: Target::Share(0.8),
};

const BINARY: Case = Case {
    format: "binary",
    ..NDJSON
};

/// The cases, in the order in which they are measured.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "kafka-arrow",
        kind: Kind::Kafka,
        format: "arrow",
        message_rows: 1000,
        share: 1,
        target: Target::Rate(3e6),
    },
    Case {
        name: "kafka-ndjson",
        kind: Kind::Kafka,
        target: Target::Rate(5e5),
        ..NDJSON
    },
    Case {
        name: "redis-ndjson",
        ..NDJSON
    },
    Case {
        name: "rabbitmq-ndjson",
        kind: Kind::Rabbitmq,
        ..NDJSON
    },
    Case {
        name: "mqtt-ndjson",
        kind: Kind::Mqtt,
        ..NDJSON
    },
    Case {
        name: "redis-binary",
        ..BINARY
    },
    Case {
        name: "rabbitmq-binary",
        kind: Kind::Rabbitmq,
        ..BINARY
    },
    Case {
        name: "mqtt-binary",
        kind: Kind::Mqtt,
        ..BINARY
    },
    Case {
        name: "postgres-sink",
        kind: Kind::Postgres,
        format: "csv",
        message_rows: 1,
        share: 10,
        target: Target::Rate(5e4),
    },
];

/// Columns of values of a feed.
pub(crate) const COLUMNS: usize = 8;

/// Keys of a feed.
pub(crate) const KEYS: u32 = 100;

/// The window of every question.
pub(crate) const WINDOW: &str = "1s";

/// Windows of a run of a feed: the first and the last are left out of its time.
pub(crate) const WINDOWS: u64 = 20;

/// The names of so many columns of values.
pub(crate) fn names(columns: usize) -> Vec<String> {
    (0..columns).map(|i| format!("c{i}")).collect()
}

/// What is asked of the rows of any case.
pub(crate) fn question(columns: usize) -> String {
    format!(
        "[rows]\ntime = \"ts\"\ntime_unit = \"ms\"\nkey = [\"key\"]\ncolumns = {:?}\n\n[window]\nsize = \"{WINDOW}\"\n\n\
         [statistics]\nmoments = true\norder = 2\ncovariance = false\n\n",
        names(columns)
    )
}
