//! A real Kafka: topics as feeds, reports to topics; and what both have in common.

mod feed;
mod page;
mod sharing;
mod sink;

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

/// A run that awaits more, of which so many rows have come.
fn following(place: &Place, rows: u64) -> (Running, std::net::SocketAddr) {
    let mut running = Running::start(place, &["run", "run.toml"]);
    let pages = running.pages();
    wait_for_rows(pages, rows);
    (running, pages)
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
