//! A real Kafka: topics as feeds, reports to topics, whatever becomes of the run, the broker and the topic.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::runs::{PAGES, ROWS, Running, counted, generate, is_right, wait_for_rows};
use crate::server::Server;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const COUNT: &str = "100000";
const PARTITIONS: i32 = 3;
const MESSAGE_ROWS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic of its own.
struct Topic {
    server: Server,
    name: String,
}

impl Topic {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        let topic = Self {
            server: Server::named("kafka"),
            name,
        };
        topic.make();
        topic
    }

    /// One of this name, of which a test before may have left something.
    fn named(name: String) -> Self {
        let topic = Self {
            server: Server::named("kafka"),
            name,
        };
        let _ = pollster::block_on(topic.admin().delete_topics(&[&topic.name], &AdminOptions::new()));
        topic.make_again();
        topic
    }

    /// Makes it once it is gone.
    fn make_again(&self) {
        let new = NewTopic::new(&self.name, PARTITIONS, TopicReplication::Fixed(1));
        wait_for("the topic to be made", || {
            let made = pollster::block_on(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
            made[0].is_ok()
        });
    }

    fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.server.says("port"))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn make(&self) {
        let topic = NewTopic::new(&self.name, PARTITIONS, TopicReplication::Fixed(1));
        let made = pollster::block_on(self.admin().create_topics([&topic], &AdminOptions::new()));
        made.unwrap().remove(0).unwrap();
    }

    fn remove(&self) {
        let gone = pollster::block_on(self.admin().delete_topics(&[&self.name], &AdminOptions::new()));
        gone.unwrap().remove(0).unwrap();
    }

    /// Messages to the partitions in turn, which the broker has when this returns.
    fn fill(&self, messages: &[Vec<u8>], compression: &str) {
        self.send(messages, compression, |number| number as i32 % PARTITIONS);
    }

    /// Messages to the partitions that their numbers say.
    fn send(&self, messages: &[Vec<u8>], compression: &str, partition_of: impl Fn(usize) -> i32) {
        let mut config = self.config();
        config.set("compression.type", compression).set("linger.ms", "5");
        let producer: ThreadedProducer<_> = config.create().unwrap();
        for (number, message) in messages.iter().enumerate() {
            let record = BaseRecord::<(), _>::to(&self.name).partition(partition_of(number));
            producer.send(record.payload(message)).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        assert_eq!(producer.in_flight_count(), 0);
    }

    /// Everything in it: key and payload, by partition in order.
    fn all(&self) -> Vec<(String, String)> {
        let consumer: BaseConsumer = self.config().set("group.id", "nobody").create().unwrap();
        let mut list = TopicPartitionList::new();
        let mut left = 0;
        for partition in 0..PARTITIONS {
            let (low, high) = consumer.fetch_watermarks(&self.name, partition, PATIENCE).unwrap();
            left += high - low;
            list.add_partition_offset(&self.name, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
        let mut all = Vec::new();
        while (all.len() as i64) < left {
            let message = consumer.poll(PATIENCE).unwrap().unwrap();
            all.push((text(message.key()), text(message.payload())));
        }
        all
    }

    /// The beginning of a feed's table.
    fn feed(&self, format: &str, more: &str) -> String {
        let columns = if format == "csv" {
            "columns = [\"ts\", \"key\", \"c0\", \"c1\", \"c2\"]\n"
        } else {
            ""
        };
        format!(
            "[feed]\ntype = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{}\"\ngroup = \"{}\"\nformat = \"{format}\"\n{columns}{more}",
            self.brokers(),
            self.name,
            self.name
        )
    }
}

const TO_FILE: &str = "[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n";
const STATE: &str =
    "[state]\ndirectory = \"state\"\ninterval = \"20ms\"\n[engine]\nbatch_rows = 500\nbatch_delay = \"1ms\"\n";
const TO_THE_END: &str = "follow = false\n";

/// Rows as messages of so many.
fn messages(place: &Place, format: &str) -> Vec<Vec<u8>> {
    if format == "arrow" {
        return arrow_messages(place);
    }
    let text = std::fs::read_to_string(place.path(&format!("feed.{format}"))).unwrap();
    let lines: Vec<&str> = text.lines().skip(usize::from(format == "csv")).collect();
    lines
        .chunks(MESSAGE_ROWS)
        .map(|rows| rows.join("\n").into_bytes())
        .collect()
}

/// Every message a stream of its own.
fn arrow_messages(place: &Place) -> Vec<Vec<u8>> {
    let file = std::fs::File::open(place.path("feed.arrow")).unwrap();
    let batches = arrow::ipc::reader::StreamReader::try_new(std::io::BufReader::new(file), None).unwrap();
    let mut messages = Vec::new();
    for batch in batches.map(Result::unwrap) {
        for from in (0..batch.num_rows()).step_by(MESSAGE_ROWS) {
            let rows = batch.slice(from, MESSAGE_ROWS.min(batch.num_rows() - from));
            let mut writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &rows.schema()).unwrap();
            writer.write(&rows).unwrap();
            writer.finish().unwrap();
            messages.push(writer.into_inner().unwrap());
        }
    }
    messages
}

/// A feed with exact expectations, in messages.
fn with_messages(format: &str) -> (Place, Vec<Vec<u8>>) {
    let place = Place::new();
    let file = format!("feed.{format}");
    generate(&place, COUNT, &["--format", format, "-o", &file, "--missing", "0.01"]);
    let messages = messages(&place, format);
    (place, messages)
}

fn configure(place: &Place, parts: &[&str]) {
    place.write("run.toml", parts.concat());
}

fn lines(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn runs(place: &Place) -> String {
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    ran.stderr
}

#[test]
fn messages_of_every_format_and_compression_are_rows() {
    for (format, compressions) in [
        ("ndjson", &["none", "lz4", "zstd"][..]),
        ("csv", &["gzip"]),
        ("arrow", &["snappy"]),
    ] {
        let (place, messages) = with_messages(format);
        for compression in compressions {
            let topic = Topic::new();
            topic.fill(&messages, compression);
            configure(&place, &[&topic.feed(format, TO_THE_END), ROWS, TO_FILE]);
            let _ = std::fs::remove_file(place.path("out.ndjson"));
            let said = runs(&place);
            assert!(
                said.contains(&format!("rows in {COUNT} ")),
                "{format} {compression}: {said}"
            );
            is_right(&place, "out.ndjson");
        }
    }
}

/// What is at its end ends alone.
#[test]
fn a_feed_ends_when_every_partition_has() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.send(&messages, "none", |_| PARTITIONS - 1);
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, TO_FILE]);
    runs(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn a_killed_run_goes_on_and_counts_every_message_once() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages, "lz4");
    // Small batches, so that a run takes a while.
    let slow = "batch_rows = 500";
    assert!(STATE.contains(slow));
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let before = Cell::new(0);
    let midway = Cell::new(0);
    for kill in 1..=5 {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let pages = running.pages();
        wait_for("some rows", || {
            let taken = counted(pages, "rows_in_total");
            midway.set(midway.get() + usize::from(before.get() < taken && taken < 100_000));
            before.set(taken);
            taken >= kill * 18_000
        });
        running.kill();
    }
    assert!(midway.get() > 0, "no run was killed midway");
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, STATE, TO_FILE]);
    runs(&place);
    is_right(&place, "out.ndjson");
    // The group knows where it is: whoever has no state goes on behind what was counted.
    let consumer: BaseConsumer = topic.config().set("group.id", &topic.name).create().unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(&topic.name, 0, PARTITIONS - 1);
    let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
    for element in committed.elements() {
        assert!(matches!(element.offset(), Offset::Offset(n) if n > 0), "{element:?}");
    }
}

/// A run that awaits more, of which so many rows have come.
fn following(place: &Place, rows: u64) -> (Running, std::net::SocketAddr) {
    let mut running = Running::start(place, &["run", "run.toml"]);
    let pages = running.pages();
    wait_for_rows(pages, rows);
    (running, pages)
}

#[test]
fn a_broker_that_crashes_is_waited_for() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    let half = messages.len() / 2;
    topic.fill(&messages[..half], "lz4");
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (mut running, pages) = following(&place, (half * MESSAGE_ROWS) as u64);
    topic.server.kill();
    running.says("it is tried again until it succeeds");
    topic.server.start();
    topic.fill(&messages[half..], "lz4");
    wait_for_rows(pages, COUNT.parse().unwrap());
    running.says("goes on");
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    // What was open then closes at the ends of the partitions.
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, STATE, PAGES, TO_FILE]);
    runs(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn what_is_given_again_is_counted_once() {
    let (place, messages) = with_messages("ndjson");
    let topic = Topic::new();
    let most = messages.len() * 9 / 10;
    topic.fill(&messages[..most], "zstd");
    configure(&place, &[&topic.feed("ndjson", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (running, _) = following(&place, (most * MESSAGE_ROWS) as u64);
    running.signal("-TERM");
    assert_eq!(running.end().0, 0);
    // The group is set back: the checkpoint counts.
    let consumer: BaseConsumer = topic.config().set("group.id", &topic.name).create().unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        let from = (most as i64 / i64::from(PARTITIONS)) * 8 / 9;
        list.add_partition_offset(&topic.name, partition, Offset::Offset(from))
            .unwrap();
    }
    // Its member stays known for a while: only who is in the group may say where it is.
    wait_for("the group to be empty", || {
        consumer.commit(&list, CommitMode::Sync).is_ok()
    });
    topic.fill(&messages[most..], "zstd");
    configure(
        &place,
        &[&topic.feed("ndjson", TO_THE_END), ROWS, STATE, PAGES, TO_FILE],
    );
    runs(&place);
    is_right(&place, "out.ndjson");
}

#[test]
fn a_message_that_cannot_be_read_is_a_bad_row() {
    let (place, topic) = (Place::new(), Topic::new());
    let good = |ts: u32| format!("{{\"ts\":{ts},\"key\":1,\"c0\":1,\"c1\":2,\"c2\":3}}").into_bytes();
    topic.fill(
        &[
            good(1),
            b"nothing".to_vec(),
            good(2),
            good(3),
            Vec::new(),
            b"{\"ts\":".to_vec(),
        ],
        "none",
    );
    let quarantine = "[limits]\nquarantine = \"bad.ndjson\"\n";
    configure(&place, &[&topic.feed("ndjson", TO_THE_END), ROWS, TO_FILE, quarantine]);
    let said = runs(&place);
    assert!(said.contains("rows in 5 ") && said.contains("quarantined 2"), "{said}");
    let bad = std::fs::read_to_string(place.path("bad.ndjson")).unwrap();
    assert!(
        bad.contains("partition 1, messages 0 to 1") && bad.contains("partition 2, messages 0 to 1"),
        "{bad}"
    );
}

#[test]
fn what_is_wrong_is_said_before_a_row_is_taken() {
    let (place, topic) = (Place::new(), Topic::new());
    place.write("wrong", "not the password\n");
    let path = |name: &str| topic.server.path(name).display().to_string();
    let secure = topic
        .brokers()
        .replace(&topic.server.says("port"), &topic.server.says("tls_port"));
    let login = |ca: &str, password: &str| {
        format!("user = \"millstream\"\nca_file = \"{ca}\"\npassword_file = \"{password}\"\n")
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    place.write("other.pem", other.cert.pem());
    let other = place.path("other.pem").display().to_string();
    for (brokers, name, more, words) in [
        (
            topic.brokers(),
            "no-such-topic",
            String::new(),
            "no topic `no-such-topic`",
        ),
        ("127.0.0.1:1".into(), &*topic.name, String::new(), "refused"),
        (
            secure.clone(),
            &topic.name,
            login(&path("ca.pem"), "wrong"),
            "does not let in `millstream` with this password",
        ),
        (
            secure.clone(),
            &topic.name,
            login(&other, &path("password")),
            "certificate",
        ),
        (secure, &topic.name, login("no.pem", &path("password")), "no.pem"),
        ("192.0.2.1:9092".into(), &topic.name, String::new(), "insecure = true"),
        ("u:secret@127.0.0.1:1".into(), &topic.name, String::new(), "HOST:PORT"),
    ] {
        let server = format!("type = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{name}\"\n{more}");
        for config in [
            format!("[feed]\n{server}format = \"ndjson\"\n{ROWS}{TO_FILE}"),
            format!("feed = {{ type = \"stdin\", format = \"ndjson\" }}\n{ROWS}[[sink]]\n{server}"),
        ] {
            place.write("run.toml", config);
            for command in ["run", "validate"] {
                let ran = place.run(&[command, "run.toml"]);
                let status = if words == "no.pem" { 66 } else { 78 };
                ran.fails(status, &[words]);
                assert!(
                    !ran.stderr.contains("secret") && !ran.stderr.contains("not the password"),
                    "{}",
                    ran.stderr
                );
            }
        }
    }
}

#[test]
fn password_and_certificate_let_in_feed_and_sink() {
    let (place, messages) = with_messages("csv");
    let (topic, reports) = (Topic::new(), Topic::new());
    topic.fill(&messages, "lz4");
    let path = |name: &str| topic.server.path(name).display().to_string();
    let login = format!(
        "user = \"millstream\"\nca_file = \"{}\"\npassword_file = \"{}\"\n",
        path("ca.pem"),
        path("password")
    );
    let secure = |text: &str| text.replace(&topic.server.says("port"), &topic.server.says("tls_port"));
    let feed = secure(&topic.feed("csv", TO_THE_END)) + &login;
    let sink = format!(
        "[[sink]]\ntype = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{}\"\n{login}",
        secure(&topic.brokers()),
        reports.name
    );
    configure(&place, &[&feed, ROWS, TO_FILE, &sink]);
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    runs(&place);
    is_right(&place, "out.ndjson");
    let mut sent: Vec<String> = reports.all().into_iter().map(|(_, report)| report).collect();
    sent.sort();
    assert!(sent == lines(&place));
}

fn to_topic(topic: &Topic) -> String {
    format!(
        "[[sink]]\ntype = \"kafka\"\nbrokers = \"{}\"\ntopic = \"{}\"\n",
        topic.brokers(),
        topic.name
    )
}

#[test]
fn reports_are_messages_with_keys() {
    let (place, _) = with_messages("csv");
    let topic = Topic::new();
    let alert = "[[alert]]\nname = \"high\"\nwhen = \"c0.mean > 0\"\n";
    configure(
        &place,
        &[
            "feed = { type = \"file\", path = \"feed.csv\" }\n",
            ROWS,
            alert,
            TO_FILE,
            &to_topic(&topic),
        ],
    );
    runs(&place);
    let sent = topic.all();
    let mut payloads: Vec<&str> = sent.iter().map(|(_, report)| report.as_str()).collect();
    payloads.sort_unstable();
    assert!(payloads == lines(&place));
    // The reports of one key are in one partition, in the order of their windows; the key is that of the rows.
    let mut windows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, report) in &sent {
        let report: serde_json::Value = serde_json::from_str(report).unwrap();
        let key_of: serde_json::Value = serde_json::from_str(key).unwrap();
        if let Some(alert) = report.get("alert") {
            assert_eq!((&key_of["alert"], &key_of["key"]), (&alert["alert"], &alert["key"]));
        } else {
            assert_eq!((&key_of["feed"], &key_of["key"]), (&report["feed"], &report["key"]));
            windows
                .entry(key)
                .or_default()
                .push(report["window"]["start"].to_string());
        }
    }
    assert_eq!(windows.len(), 7);
    assert!(windows.values().all(|starts| starts.len() > 50 && starts.is_sorted()));
}

#[test]
fn reports_reach_a_broker_that_crashed() {
    let (place, messages) = with_messages("csv");
    let (topic, reports) = (Topic::new(), Topic::new());
    let half = messages.len() / 2;
    topic.fill(&messages[..half], "none");
    configure(
        &place,
        &[&topic.feed("csv", ""), ROWS, PAGES, TO_FILE, &to_topic(&reports)],
    );
    let (mut running, pages) = following(&place, (half * MESSAGE_ROWS) as u64);
    topic.server.kill();
    running.says("it is tried again until it succeeds");
    topic.server.start();
    topic.fill(&messages[half..], "none");
    wait_for_rows(pages, COUNT.parse().unwrap());
    running.signal("-TERM");
    let (status, said) = running.end();
    assert_eq!(status, 0, "{said}");
    is_right(&place, "out.ndjson");
    let mut sent: Vec<String> = reports.all().into_iter().map(|(_, report)| report).collect();
    sent.sort();
    assert!(sent == lines(&place));
}

#[test]
fn the_feed_is_alone_in_its_group() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..10], "none");
    let mut config = topic.config();
    let other: BaseConsumer = config
        .set("group.id", &topic.name)
        .set("partition.assignment.strategy", "range")
        .create()
        .unwrap();
    other.subscribe(&[&topic.name]).unwrap();
    wait_for("the other to be in the group", || {
        other.poll(Duration::from_millis(10));
        other.assignment().unwrap().count() > 0
    });
    let stop = std::sync::atomic::AtomicBool::new(false);
    configure(&place, &[&topic.feed("csv", ""), ROWS, TO_FILE]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                other.poll(Duration::from_millis(10));
            }
        });
        let ran = place.run(&["run", "run.toml"]);
        stop.store(true, Ordering::Relaxed);
        ran.fails(78, &["another program is in it", "name another group"]);
    });
}

#[test]
fn a_topic_that_was_made_anew_is_not_gone_on_with() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..90], "none");
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (running, _) = following(&place, 90 * MESSAGE_ROWS as u64);
    running.signal("-TERM");
    assert_eq!(running.end().0, 0);
    topic.remove();
    topic.make_again();
    topic.fill(&messages[..3], "none");
    place
        .run(&["run", "run.toml"])
        .fails(78, &["made anew", "--discard-state"]);
}

#[test]
fn what_was_deleted_before_it_was_read_is_said() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..30], "none");
    configure(&place, &[&topic.feed("csv", ""), ROWS, STATE, PAGES, TO_FILE]);
    let (running, _) = following(&place, 30 * MESSAGE_ROWS as u64);
    running.signal("-TERM");
    assert_eq!(running.end().0, 0);
    topic.fill(&messages[30..60], "none");
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset(&topic.name, 1, Offset::Offset(15)).unwrap();
    pollster::block_on(topic.admin().delete_records(&upto, &AdminOptions::new())).unwrap();
    configure(&place, &[&topic.feed("csv", TO_THE_END), ROWS, STATE, PAGES, TO_FILE]);
    let said = runs(&place);
    assert!(
        said.contains("the messages 10 to 14 of partition 1 were deleted before they were read"),
        "{said}"
    );
    assert!(said.contains("rows in 5500 "), "{said}");
}

/// What came before the feed began is not for it; what came while it was away is.
#[test]
fn a_feed_that_begins_with_the_latest_misses_nothing_later() {
    let (place, messages) = with_messages("csv");
    let topic = Topic::new();
    topic.fill(&messages[..30], "none");
    configure(
        &place,
        &[&topic.feed("csv", "start = \"latest\"\n"), ROWS, STATE, PAGES, TO_FILE],
    );
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    // It has a place once the group has given it its partitions and a checkpoint knows.
    wait_for("the group to know", || {
        let consumer: BaseConsumer = topic.config().set("group.id", &topic.name).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(&topic.name, 0, PARTITIONS - 1);
        let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
        committed.elements().iter().all(|e| e.offset() == Offset::Offset(10))
    });
    assert_eq!(counted(pages, "rows_in_total"), 0);
    running.kill();
    topic.fill(&messages[30..60], "none");
    configure(
        &place,
        &[
            &topic.feed("csv", "follow = false\nstart = \"latest\"\n"),
            ROWS,
            STATE,
            PAGES,
            TO_FILE,
        ],
    );
    let said = runs(&place);
    assert!(said.contains("rows in 3000 "), "{said}");
}

/// The example as its script runs it.
#[test]
fn the_relay_takes_readings_and_gives_reports() {
    let place = Place::new();
    let (readings, reports) = (Topic::named("readings".into()), Topic::named("reports".into()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kafka_relay/run");
    let mut command = std::process::Command::new(script);
    command
        .arg(readings.brokers())
        .env("MILLSTREAM", place.command(&[]).get_program());
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("rows in 100000 = aggregated 100000 "), "{said}");
    let mut rows = 0;
    for (_, report) in reports.all() {
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        rows += report["rows"].as_u64().unwrap();
        let mean = report["columns"]["temperature"]["mean"].as_f64().unwrap();
        assert!((15.0..25.0).contains(&mean), "{report}");
    }
    assert_eq!(rows, 100_000);
    readings.remove();
    reports.remove();
}
