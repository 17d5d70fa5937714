//! A real MQTT broker: rows that come from topics are counted once, and the latest reports are retained, whatever becomes of
//! the run and of the broker.

mod page;

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::messages::{
    COUNT, FORMAT, Named, STATE, TOGETHER, all_rows, configured, ended, is_whole, named, ready, with_repetitions,
    with_rows,
};
use crate::runs::{PAGES, ROWS, Running, counted, is_right};
use crate::server::Server;
use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, PublishOptions, PublishProperties, QoS};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Topics of their own.
struct Topics {
    server: Server,
    runtime: Runtime,
    name: String,
}

impl Topics {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            server: Server::named("mqtt"),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            name: format!("test_{}_{number}", std::process::id()),
        }
    }

    fn client(&self) -> (AsyncClient, EventLoop) {
        let options = self.options(&format!("client-{}", self.name));
        AsyncClient::builder(options).capacity(100).build()
    }

    fn options(&self, client_id: &str) -> MqttOptions {
        let port = self.server.says("port").parse::<u16>().unwrap();
        let mut options = MqttOptions::new(client_id, ("127.0.0.1", port));
        options.set_credentials(self.server.says("user"), self.server.says("password").into_bytes());
        options.set_max_packet_size(Some(1 << 20));
        options
    }

    /// Publishes to these levels below the name, and waits until the broker has everything.
    fn publish(&self, messages: &[(String, Named)]) {
        self.runtime.block_on(async {
            let (client, mut events) = self.client();
            let serving = tokio::spawn(async move { while events.poll().await.is_ok() {} });
            let mut notices = Vec::new();
            for (levels, (id, payload)) in messages {
                let mut properties = PublishProperties::default();
                if let Some(id) = id {
                    properties.user_properties.push(("message-id".into(), id.clone()));
                }
                let options = PublishOptions::at_least_once().properties(properties);
                let topic = format!("{}/{levels}", self.name);
                notices.push(client.publish_tracked(topic, payload.clone(), options).await.unwrap());
            }
            for notice in notices {
                notice.wait_completion_async().await.unwrap();
            }
            client.disconnect().await.unwrap();
            serving.await.unwrap();
        });
    }

    /// Everything that is retained below the name, by topic, while nobody publishes there.
    fn retained(&self) -> BTreeMap<String, String> {
        let (retained, is_quiet) = self.kept();
        assert!(is_quiet, "messages that are not retained");
        retained
    }

    /// Everything that was retained below the name at one moment, and whether nothing else came.
    fn kept(&self) -> (BTreeMap<String, String>, bool) {
        self.runtime.block_on(async {
            let (client, mut events) = self.client();
            let filter = format!("{}/#", self.name);
            client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
            let end = format!("{}/end", self.name);
            let (mut all, mut is_quiet) = (BTreeMap::new(), true);
            loop {
                match events.poll().await.unwrap() {
                    // What is retained comes before what is published from now on.
                    Event::Incoming(Incoming::SubAck(_)) => {
                        let options = PublishOptions::at_least_once();
                        client.publish(end.as_str(), "", options).await.unwrap();
                    }
                    Event::Incoming(Incoming::Publish(message)) => {
                        let topic = String::from_utf8(message.topic.to_vec()).unwrap();
                        if topic == end {
                            return (all, is_quiet);
                        }
                        if !message.retain {
                            is_quiet = false;
                            continue;
                        }
                        let topic = topic[self.name.len() + 1..].to_owned();
                        all.insert(topic, String::from_utf8(message.payload.to_vec()).unwrap());
                    }
                    _ => {}
                }
            }
        })
    }

    fn access(&self) -> String {
        let (port, password) = (self.server.says("port"), self.server.path("password"));
        format!(
            "url = \"mqtt://millstream@127.0.0.1:{port}\"\npassword_file = \"{}\"\nclient_id = \"run-{}\"\n",
            password.display(),
            self.name
        )
    }

    /// The feed of a configuration, of these levels.
    fn feed(&self, levels: &str, more: &str) -> String {
        let access = self.access();
        format!(
            "[feed]\ntype = \"mqtt\"\n{access}topic = \"{}/{levels}\"\n{more}",
            self.name
        )
    }

    /// The sink of a configuration.
    fn sink(&self) -> String {
        format!(
            "[[sink]]\ntype = \"mqtt\"\n{}topic = \"{}\"\n",
            self.access(),
            self.name
        )
    }

    /// Waits until the broker has written down what it had when this was called.
    fn wait_until_kept(&self) {
        let path = self.server.path("data/mosquitto.db");
        let changed = || std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
        // The first may have been under way.
        for _ in 0..2 {
            let before = changed();
            wait_for("the data of the broker", || changed() != before);
        }
    }
}

fn at<'a>(levels: &'a str, messages: &'a [Named]) -> Vec<(String, Named)> {
    messages
        .iter()
        .map(|message| (levels.to_owned(), message.clone()))
        .collect()
}

#[test]
fn rows_come_whole_and_levels_are_columns() {
    let (place, messages) = with_rows();
    let topics = Topics::new();
    let feed = topics.feed(
        "+/rows",
        "format = \"csv\"\ncolumns = [\"ts\", \"c0\", \"c1\", \"c2\"]\nlevels = { key = 2 }\n",
    );
    configured(&place, &feed, "");
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    ready(pages);
    // The rows of each key in messages of their own, whose topic says which it is.
    let mut parted = Vec::new();
    for message in &messages {
        let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in std::str::from_utf8(message).unwrap().lines() {
            let (ts, rest) = row.split_once(',').unwrap();
            let (key, values) = rest.split_once(',').unwrap();
            by_key.entry(key.to_owned()).or_default().push(format!("{ts},{values}"));
        }
        let levels = by_key
            .into_iter()
            .map(|(key, rows)| (format!("{key}/rows"), (None, rows.join("\n").into_bytes())));
        parted.extend(levels);
    }
    parted.insert(500, ("1/rows".into(), (None, b"nothing of this kind".to_vec())));
    topics.publish(&parted);
    all_rows(&mut running, pages, COUNT + 1);
    ended(running);
    // Levels are text, and the keys of the expectations are numbers.
    let mut text = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    for key in 0..7 {
        text = text.replace(
            &format!("\"key\":{{\"key\":\"{key}\"}}"),
            &format!("\"key\":{{\"key\":{key}}}"),
        );
    }
    place.write("numbers.ndjson", text);
    is_right(&place, "numbers.ndjson");
}

/// Begins the session of a run, which the broker keeps.
fn subscribed(place: &Place) {
    let mut running = Running::start(place, &["run", "run.toml"]);
    ready(running.pages());
    ended(running);
}

/// Who publishes on another topic numbers messages for itself, and what is in one of them may be in the other.
#[test]
fn ids_are_those_of_a_topic() {
    let (place, topics) = (Place::new(), Topics::new());
    configured(&place, &topics.feed("+", FORMAT), STATE);
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    ready(pages);
    let message = |id: &str| (Some(id.to_owned()), b"1000,a,1,2,3".to_vec());
    let at = |level: &str, id: &str| (level.to_owned(), message(id));
    // The last says that those before have been taken.
    topics.publish(&[at("a", "1"), at("b", "1"), at("a", "1"), at("b", "1"), at("b", "2")]);
    wait_for("the messages", || counted(pages, "rows_in_total") >= 3);
    let said = ended(running);
    assert!(said.contains("rows in 3 "), "{said}");
}

/// Killed again and again, and one in ten messages comes twice.
#[test]
fn a_killed_run_counts_every_row_once() {
    let (place, messages) = with_rows();
    let topics = Topics::new();
    configured(&place, &topics.feed("rows", FORMAT), STATE);
    subscribed(&place);
    let messages = with_repetitions(&named(&messages));
    topics.publish(&at("rows", &messages));
    let mut kills = 0;
    let mut rows = 0;
    while kills < 8 && rows < COUNT - 30 * TOGETHER as u64 {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        let pages = running.pages();
        let before = counted(pages, "rows_in_total");
        wait_for("some rows", || {
            counted(pages, "rows_in_total") > before + 20 * TOGETHER as u64
        });
        rows = counted(pages, "rows_in_total");
        running.kill();
        kills += 1;
    }
    assert!(kills > 1, "too few kills hit the middle");
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    all_rows(&mut running, pages, COUNT);
    ended(running);
    is_whole(&place);
}

#[test]
fn a_broker_that_crashes_loses_nothing_and_nothing_is_counted_twice() {
    let (place, messages) = with_rows();
    let topics = Topics::new();
    configured(&place, &topics.feed("rows", FORMAT), STATE);
    subscribed(&place);
    let messages = with_repetitions(&named(&messages));
    let (first, second) = messages.split_at(messages.len() / 2);
    topics.publish(&at("rows", first));
    topics.wait_until_kept();
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    wait_for("some rows", || counted(pages, "rows_in_total") > 0);
    topics.server.kill();
    running.says("mqtt");
    topics.server.start();
    topics.publish(&at("rows", second));
    all_rows(&mut running, pages, COUNT);
    ended(running);
    is_whole(&place);
}

#[test]
fn what_is_wrong_is_said_before_a_message_is_taken() {
    let (place, topics) = (Place::new(), Topics::new());
    place.write("wrong", "not the password\n");
    place.write("feed.csv", "ts,key,c0,c1,c2\n1,1,1,1,1\n");
    let url = format!("mqtt://millstream@127.0.0.1:{}", topics.server.says("port"));
    let right = topics.server.path("password").display().to_string();
    for (url, password, topic, words) in [
        (
            url.as_str(),
            "wrong",
            "a",
            "does not let in `millstream` with this password",
        ),
        (&url, &right, "a/#/b", "topic"),
        ("mqtt://millstream@127.0.0.1:1", &right, "a", "refused"),
        ("mqtt://u@192.0.2.1", &right, "a", "insecure = true"),
        ("mqtt://u:secret@127.0.0.1", &right, "a", "password_file"),
        ("nonsense", &right, "a", "mqtt://USER@HOST:PORT"),
    ] {
        let access = format!("url = \"{url}\"\npassword_file = \"{password}\"\ntopic = \"{topic}\"\n");
        let feed = format!("[feed]\ntype = \"mqtt\"\n{access}{FORMAT}");
        let sink = format!("[[sink]]\ntype = \"mqtt\"\n{access}");
        for (feed, sink) in [
            (feed.as_str(), ""),
            ("feed = { type = \"file\", path = \"feed.csv\" }\n", &sink),
        ] {
            configured(&place, feed, sink);
            for command in ["run", "validate"] {
                let ran = place.run(&[command, "run.toml"]);
                ran.fails(78, &[words]);
                assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
            }
        }
    }
}

#[test]
fn a_certificate_is_trusted_if_its_authority_is() {
    let (place, messages) = with_rows();
    let (topics, reports) = (Topics::new(), Topics::new());
    let encrypted = |part: String, authority: &std::path::Path| {
        let (plain, port) = (topics.server.says("port"), topics.server.says("tls_port"));
        let part = part.replace(&format!("127.0.0.1:{plain}"), &format!("127.0.0.1:{port}"));
        part.replace(
            "password_file",
            &format!("ca_file = \"{}\"\npassword_file", authority.display()),
        )
    };
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    place.write("other.pem", other.cert.pem());
    let authority = topics.server.path("ca.pem");
    for (of_feed, of_sink) in [
        (&place.path("other.pem"), &authority),
        (&authority, &place.path("other.pem")),
    ] {
        let feed = encrypted(topics.feed("rows", FORMAT), of_feed);
        configured(&place, &feed, &encrypted(reports.sink(), of_sink));
        for command in ["run", "validate"] {
            place.run(&[command, "run.toml"]).fails(78, &["certificate"]);
        }
    }
    let feed = encrypted(topics.feed("rows", FORMAT), &authority);
    configured(&place, &feed, &encrypted(reports.sink(), &authority));
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    ready(pages);
    topics.publish(&at("rows", &named(&messages)));
    all_rows(&mut running, pages, COUNT);
    ended(running);
    is_right(&place, "out.ndjson");
    assert!(reports.retained() == latest(&place));
}

/// The last report of each key in the file of lines, and the last of its alerts, by topic.
fn latest(place: &Place) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(place.path("out.ndjson")).unwrap();
    let mut latest = BTreeMap::new();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let topic = match value.get("alert") {
            Some(alert) => format!("main/alerts/too%20high/{}", alert["key"]["key"]),
            None => format!("main/{}", value["key"]["key"]),
        };
        latest.insert(topic, format!("{line}\n"));
    }
    latest
}

/// A file with alerts whose reports come to topics and to lines.
fn reporting(place: &Place, topics: &Topics, more: &str) {
    let config = format!(
        "feed = {{ type = \"file\", path = \"feed.csv\" }}\n{ROWS}[[alert]]\nname = \"too high\"\nwhen = \"c0.mean > \
         0\"\n{more}{}[[sink]]\ntype = \"file\"\npath = \"out.ndjson\"\n",
        topics.sink()
    );
    place.write("run.toml", config);
}

#[test]
fn the_latest_reports_are_those_of_the_lines() {
    let (place, _) = with_rows();
    let topics = Topics::new();
    reporting(&place, &topics, "");
    let checked = place.run(&["validate", "run.toml"]);
    assert_eq!(checked.status, 0, "{}", checked.stderr);
    assert!(topics.retained().is_empty());
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    let (retained, latest) = (topics.retained(), latest(&place));
    assert_eq!(latest.len(), 14, "7 keys, each with an alert");
    assert!(retained == latest, "{retained:?} {latest:?}");
}

#[test]
fn a_killed_run_leaves_the_latest_reports() {
    let (place, _) = with_rows();
    let topics = Topics::new();
    reporting(&place, &topics, STATE);
    for millis in [5, 40, 90, 150, 250] {
        let mut running = Running::start(&place, &["run", "run.toml"]);
        running.hear(Duration::from_millis(millis));
        running.kill();
    }
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(topics.retained() == latest(&place));
}

#[test]
fn a_broker_that_crashes_gets_the_latest_reports() {
    let (place, _) = with_rows();
    let topics = Topics::new();
    let text = std::fs::read_to_string(place.path("feed.csv")).unwrap();
    let middle = text[..text.len() / 2].rfind('\n').unwrap() + 1;
    place.write("feed.csv", &text[..middle]);
    reporting(&place, &topics, &format!("{STATE}{PAGES}"));
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    place.write(
        "run.toml",
        config.replace("\"feed.csv\" }", "\"feed.csv\", follow = true }"),
    );
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    wait_for("reports", || counted(pages, "rows_out_total") > 0);
    topics.wait_until_kept();
    topics.server.kill();
    let mut file = std::fs::File::options()
        .append(true)
        .open(place.path("feed.csv"))
        .unwrap();
    file.write_all(&text.as_bytes()[middle..]).unwrap();
    running.says("mqtt");
    topics.server.start();
    all_rows(&mut running, pages, COUNT);
    ended(running);
    place.write("run.toml", config);
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(topics.retained() == latest(&place));
}
