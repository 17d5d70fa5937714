//! A real RabbitMQ: rows that come from a queue are counted once, and reports get to an exchange, whatever becomes of the
//! run and of the server.

mod page;

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::messages::{
    COUNT, FORMAT, STATE, TOGETHER, all_rows, configured, ended, is_whole, named, said, with_repetitions, with_rows,
};
use crate::runs::{PAGES, ROWS, Running, counted, is_right};
use crate::server::Server;
use lapin::options::{
    BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// A queue of its own, and a client of it.
pub(crate) struct Queue {
    pub(crate) server: Server,
    runtime: Handle,
    channel: Channel,
    _connection: Connection,
    name: String,
}

impl Queue {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let queue = Self::reached(Server::named("rabbitmq"), name);
        queue.declare(false);
        queue
    }

    /// One of this name that is not there, whatever a test before may have left.
    pub(crate) fn anew(name: &str) -> Self {
        let queue = Self::reached(Server::named("rabbitmq"), name.to_owned());
        let removed = queue.channel.queue_delete(name.into(), QueueDeleteOptions::default());
        queue.runtime.block_on(removed).unwrap();
        queue
    }

    fn reached(server: Server, name: String) -> Self {
        let served = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let runtime = served.handle().clone();
        std::thread::spawn(move || served.block_on(std::future::pending::<()>()));
        let url = format!(
            "amqp://{}:{}@127.0.0.1:{}/%2f",
            server.says("user"),
            server.says("password"),
            server.says("port")
        );
        let (connection, channel) = runtime.block_on(async {
            let connection = Connection::connect(&url, ConnectionProperties::default())
                .await
                .unwrap();
            let channel = connection.create_channel().await.unwrap();
            channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
            (connection, channel)
        });
        Self {
            server,
            runtime,
            channel,
            _connection: connection,
            name,
        }
    }

    /// The messages that wait in it.
    pub(crate) fn waiting(&self) -> u32 {
        self.declare(true)
    }

    fn declare(&self, passive: bool) -> u32 {
        let options = QueueDeclareOptions {
            passive,
            durable: true,
            ..QueueDeclareOptions::default()
        };
        let declared = self
            .channel
            .queue_declare(self.name.as_str().into(), options, FieldTable::default());
        self.runtime.block_on(declared).unwrap().message_count()
    }

    /// Waits until a crash of the server leaves the queue: it is written down some time after it was declared.
    fn wait_until_kept(&self) {
        let folder = self.server.path("data/millstream@localhost");
        let holds = |path: std::path::PathBuf| {
            let bytes = std::fs::read(path).unwrap_or_default();
            bytes
                .windows(self.name.len())
                .any(|window| window == self.name.as_bytes())
        };
        wait_for("the queue on disk", || {
            let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
            files.filter(|path| path.is_file()).any(holds)
        });
    }

    /// The same queue, after its server was started again.
    fn again(self) -> Self {
        Self::reached(self.server, self.name)
    }

    /// Publishes, each message with its name, and waits until the server has them.
    fn publish(&self, messages: &[(Option<String>, Vec<u8>)]) {
        self.runtime.block_on(async {
            let mut confirms = Vec::new();
            for (id, payload) in messages {
                let mut properties = BasicProperties::default().with_delivery_mode(2);
                if let Some(id) = id {
                    properties = properties.with_message_id(id.as_str().into());
                }
                let key = self.name.as_str().into();
                let options = BasicPublishOptions::default();
                let published = self
                    .channel
                    .basic_publish(ShortString::default(), key, options, payload, properties);
                confirms.push(published.await.unwrap());
            }
            for confirm in confirms {
                assert_eq!(confirm.await.unwrap(), Confirmation::Ack(None));
            }
        });
    }

    /// Takes everything out: names and bodies.
    fn drain(&self) -> Vec<(String, String)> {
        self.runtime.block_on(async {
            let mut all = Vec::new();
            let options = BasicGetOptions { no_ack: true };
            while let Some(got) = self
                .channel
                .basic_get(self.name.as_str().into(), options)
                .await
                .unwrap()
            {
                let properties = &got.delivery.properties;
                assert_eq!(*properties.delivery_mode(), Some(2));
                let content = properties.content_type().as_ref().unwrap();
                assert_eq!(content.as_str(), "application/x-ndjson");
                let id = properties.message_id().as_ref().unwrap().as_str().to_owned();
                all.push((id, String::from_utf8(got.delivery.data.clone()).unwrap()));
            }
            all
        })
    }

    fn url(&self) -> String {
        format!("amqp://millstream@127.0.0.1:{}", self.server.says("port"))
    }

    fn access(&self) -> String {
        let password = self.server.path("password");
        format!("url = \"{}\"\npassword_file = \"{}\"\n", self.url(), password.display())
    }

    /// The feed of a configuration.
    fn feed(&self, more: &str) -> String {
        format!(
            "[feed]\ntype = \"rabbitmq\"\n{}queue = \"{}\"\n{more}",
            self.access(),
            self.name
        )
    }

    /// The sink of a configuration.
    fn sink(&self) -> String {
        format!(
            "[[sink]]\ntype = \"rabbitmq\"\n{}routing_key = \"{}\"\n",
            self.access(),
            self.name
        )
    }
}

#[test]
fn rows_come_whole_and_what_cannot_be_read_is_one_bad_row() {
    let (place, messages) = with_rows();
    let queue = Queue::new();
    let mut messages: Vec<_> = messages.into_iter().map(|payload| (None, payload)).collect();
    messages.insert(500, (None, b"nothing of this kind".to_vec()));
    queue.publish(&messages);
    configured(&place, &queue.feed(FORMAT), "[limits]\nquarantine = \"bad.ndjson\"\n");
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    assert_eq!(queue.waiting() as usize, messages.len(), "validate takes nothing");
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    all_rows(&mut running, pages, COUNT + 1);
    ended(running);
    is_right(&place, "out.ndjson");
    assert_eq!(queue.waiting(), 0, "everything is acknowledged");
    let bad = std::fs::read_to_string(place.path("bad.ndjson")).unwrap();
    assert!(
        bad.lines().count() == 1 && bad.contains("nothing of this kind"),
        "{bad}"
    );
}

/// Killed again and again, and one in ten messages comes twice.
#[test]
fn a_killed_run_counts_every_row_once() {
    let (place, messages) = with_rows();
    let queue = Queue::new();
    let messages = with_repetitions(&named(&messages));
    configured(&place, &queue.feed(&format!("{FORMAT}prefetch = 50\n")), STATE);
    queue.publish(&messages);
    let mut kills = 0;
    while kills < 8 && queue.waiting() > 0 {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let pages = running.pages();
        let before = counted(pages, "rows_in_total");
        wait_for("some rows", || {
            counted(pages, "rows_in_total") > before + 20 * TOGETHER as u64
        });
        running.kill();
        kills += 1;
    }
    assert!(kills > 3, "too few kills hit the middle");
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    all_rows(&mut running, pages, COUNT);
    wait_for("an empty queue", || queue.waiting() == 0);
    ended(running);
    is_whole(&place);
    assert_eq!(queue.waiting(), 0, "everything is acknowledged");
}

#[test]
fn a_server_that_crashes_loses_nothing_and_nothing_is_counted_twice() {
    let (place, messages) = with_rows();
    let queue = Queue::new();
    let messages = with_repetitions(&named(&messages));
    let (first, second) = messages.split_at(messages.len() / 2);
    queue.publish(first);
    configured(&place, &queue.feed(FORMAT), STATE);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    wait_for("some rows", || counted(pages, "rows_in_total") > 0);
    queue.wait_until_kept();
    queue.server.kill();
    running.says("rabbitmq");
    queue.server.start();
    let queue = queue.again();
    queue.publish(second);
    all_rows(&mut running, pages, COUNT);
    wait_for("an empty queue", || queue.waiting() == 0);
    ended(running);
    is_whole(&place);
}

#[test]
fn what_is_wrong_is_said_before_a_message_is_taken() {
    let (place, queue) = (Place::new(), Queue::new());
    place.write("wrong", "not the password\n");
    place.write("feed.csv", "ts,key,c0,c1,c2\n1,1,1,1,1\n");
    let url = queue.url();
    let right = queue.server.path("password").display().to_string();
    let name = &queue.name;
    let wrong = "does not let in `millstream` with this password";
    for (url, password, queue, exchange, words) in [
        (url.as_str(), "wrong", name.as_str(), "", wrong),
        (&url, &right, "no_such_queue", "no_such_exchange", "has no "),
        ("amqp://millstream@127.0.0.1:1", &right, name, "", "refused"),
        (
            &format!("{url}/elsewhere"),
            &right,
            name,
            "",
            "virtual host `elsewhere`",
        ),
        ("amqp://u@192.0.2.1", &right, name, "", "insecure = true"),
        ("amqp://u:secret@127.0.0.1", &right, name, "", "password_file"),
        ("nonsense", &right, name, "", "amqp://USER@HOST:PORT/VHOST"),
    ] {
        let access = format!("url = \"{url}\"\npassword_file = \"{password}\"\n");
        let feed = format!("[feed]\ntype = \"rabbitmq\"\n{access}queue = \"{queue}\"\n{FORMAT}");
        configured(&place, &feed, "");
        for command in ["run", "validate"] {
            let ran = place.run(&[command, "run.toml"]);
            ran.fails(78, &[words]);
            assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        }
        let sink = format!("[[sink]]\ntype = \"rabbitmq\"\n{access}exchange = \"{exchange}\"\nrouting_key = \"x\"\n");
        configured(&place, "feed = { type = \"file\", path = \"feed.csv\" }\n", &sink);
        for command in ["run", "validate"] {
            if url.ends_with("/elsewhere") || url != "nonsense" {
                let ran = place.run(&[command, "run.toml"]);
                ran.fails(78, &[words]);
                assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
            }
        }
    }
    for prefetch in ["0", "5001"] {
        configured(&place, &queue.feed(&format!("{FORMAT}prefetch = {prefetch}\n")), "");
        place
            .run(&["validate", "run.toml"])
            .fails(78, &["prefetch", "1 to 5000"]);
    }
}

#[test]
fn a_certificate_is_trusted_if_its_authority_is() {
    let (place, messages) = with_rows();
    let (queue, reports) = (Queue::new(), Queue::new());
    queue.publish(&named(&messages));
    let encrypted = |part: String, authority: &std::path::Path| {
        let plain = queue.server.says("port");
        let port = queue.server.says("tls_port");
        let part = part.replace(&format!("127.0.0.1:{plain}"), &format!("127.0.0.1:{port}"));
        part.replace(
            "password_file",
            &format!("ca_file = \"{}\"\npassword_file", authority.display()),
        )
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    place.write("other.pem", other.cert.pem());
    let authority = queue.server.path("ca.pem");
    for (of_feed, of_sink) in [
        (&place.path("other.pem"), &authority),
        (&authority, &place.path("other.pem")),
    ] {
        let feed = encrypted(queue.feed(FORMAT), of_feed);
        configured(&place, &feed, &encrypted(reports.sink(), of_sink));
        for command in ["run", "validate"] {
            place.run(&[command, "run.toml"]).fails(78, &["certificate"]);
        }
    }
    let feed = encrypted(queue.feed(FORMAT), &authority);
    configured(&place, &feed, &encrypted(reports.sink(), &authority));
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    all_rows(&mut running, pages, COUNT);
    ended(running);
    is_right(&place, "out.ndjson");
    assert!(lines(reports.drain()) == said(&place, "out.ndjson"));
}

/// The bodies of messages, sorted, those under one name once.
fn lines(messages: Vec<(String, String)>) -> Vec<String> {
    let mut by_name = BTreeMap::new();
    for (name, body) in messages {
        let before = by_name.insert(name, body.clone());
        assert!(before.is_none_or(|before| before == body), "one name, two bodies");
    }
    let mut lines: Vec<String> = by_name.into_values().collect();
    lines.sort();
    lines
}

/// A file with alerts whose reports come to a queue and to lines.
fn reporting(place: &Place, queue: &Queue, more: &str) {
    let config = format!(
        "feed = {{ type = \"file\", path = \"feed.csv\" }}\n{ROWS}[statistics]\ncovariance = true\n[[alert]]\nname = \
         \"high\"\nwhen = \"c0.mean > 0\"\n{more}{}[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n",
        queue.sink()
    );
    place.write("run.toml", config);
}

#[test]
fn reports_are_those_of_the_lines() {
    let (place, _) = with_rows();
    let queue = Queue::new();
    reporting(&place, &queue, "");
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!((checked.status, queue.waiting()), (0, 0), "{}", checked.stderr);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let messages = queue.drain();
    let count = messages.len();
    let lines = lines(messages);
    assert_eq!(lines.len(), count, "names are their own");
    assert!(lines.iter().any(|line| line.starts_with("{\"alert\":")) && count > 500);
    assert!(lines == said(&place, "out.ndjson"));
}

#[test]
fn a_killed_run_leaves_out_no_report() {
    let (place, _) = with_rows();
    let queue = Queue::new();
    reporting(&place, &queue, STATE);
    for millis in [5, 40, 90, 150, 250] {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        running.hear(Duration::from_millis(millis));
        running.kill();
    }
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    assert!(lines(queue.drain()) == said(&place, "out.ndjson"));
}

#[test]
fn a_server_that_crashes_gets_the_reports_that_it_missed() {
    let (place, _) = with_rows();
    let queue = Queue::new();
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let middle = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    place.write("feed.csv", &text[..middle]);
    reporting(&place, &queue, &format!("{STATE}{PAGES}"));
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write(
        "run.toml",
        config.replace("\"feed.csv\" }", "\"feed.csv\", follow = true }"),
    );
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    wait_for("reports", || queue.waiting() > 0);
    queue.wait_until_kept();
    queue.server.kill();
    let mut file = std::fs::File::options()
        .append(true)
        .open(place.path("feed.csv"))
        .unwrap();
    file.write_all(&text.as_bytes()[middle..]).unwrap();
    running.says("rabbitmq");
    queue.server.start();
    all_rows(&mut running, pages, COUNT);
    ended(running);
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    assert!(lines(queue.again().drain()) == said(&place, "out.ndjson"));
}

#[test]
fn a_report_that_no_queue_takes_is_an_error() {
    let (place, _) = with_rows();
    let queue = Queue::new();
    reporting(&place, &queue, "");
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let key = format!("routing_key = \"{}\"", queue.name);
    place.write("run.toml", config.replace(&key, "routing_key = \"nowhere\""));
    place
        .run(&["run", "run.toml"])
        .fails(74, &["no queue takes", "nowhere"]);
}
