//! The configuration of the page, as it stands there.

use super::*;
use crate::pages;
use crate::readings::{are_same, drawn, expected, messages, newest_ms, reported};

#[test]
fn the_page_runs_as_it_stands() {
    let (vitals, reports) = (Queue::anew("vitals"), Queue::anew("reports"));
    vitals.declare(false);
    reports.declare(false);
    let [place] = pages::configured("rabbitmq", "127.0.0.1:5672", &vitals.server);
    let readings = drawn(400, 1000, &["7", "8", "9"], &["pulse", "temperature"]);
    vitals.publish(&named(&messages(&readings, "patient", TOGETHER)));
    let expected = expected(&readings, 60_000, newest_ms(&readings));
    let running = Running::start(&place, &["run", "run.toml"]);
    wait_for("the reports", || reports.waiting() as usize >= expected.len());
    ended(running);
    assert_eq!(vitals.waiting(), 0, "everything is acknowledged");
    let told = reports.drain();
    are_same(&reported(told.iter().map(|(_, report)| report.as_str())), &expected);
}

/// `generate` and the feed of the page, which know nothing of each other but the queue.
#[test]
fn what_is_generated_comes_through_a_queue_that_is_made_for_it() {
    let queue = Queue::anew("generated");
    let place = Place::new();
    let (port, password) = (queue.server.says("port"), queue.server.path("password"));
    let to = format!("amqp://millstream@127.0.0.1:{port}/generated");
    let more = ["--format", "csv", "--batch-rows", "100", "--to", &to, "--password-file"];
    crate::runs::generate(
        &place,
        &COUNT.to_string(),
        &[&more[..], &[password.to_str().unwrap()]].concat(),
    );
    assert_eq!(queue.waiting() as usize, COUNT as usize / TOGETHER);
    configured(&place, &queue.feed(FORMAT), "");
    let mut running = Running::start(&place, &["run", "run.toml"]);
    let pages = running.pages();
    all_rows(&mut running, pages, COUNT);
    ended(running);
    is_right(&place, "out.ndjson");
    place.write("wrong", "not the password\n");
    for (to, password, status, words) in [
        (&*to, "wrong", 74, "does not let in `millstream` with this password"),
        ("amqp://u:secret@127.0.0.1:1/q", "wrong", 2, "password_file"),
        ("amqp://u:secret@127.0.0.1:1", "wrong", 2, "amqp://USER@HOST:PORT/QUEUE"),
        ("amqp://u@192.0.2.1/q", "wrong", 2, "--authorities"),
        ("amqps://u@127.0.0.1/q", "wrong", 2, "--authorities"),
        ("amqp://u@127.0.0.1:1/q", "wrong", 74, "refused"),
        (&to, "none", 66, "none"),
    ] {
        let ran = place.run(&["generate", "--to", to, "--password-file", password]);
        ran.fails(status, &[words]);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
    }
    let (plain, tls_port) = (queue.server.says("port"), queue.server.says("tls_port"));
    let (authority, password) = (queue.server.path("ca.pem"), queue.server.path("password"));
    let to = to.replace("amqp:", "amqps:").replace(&plain, &tls_port);
    let (authority, password) = (authority.to_str().unwrap(), password.to_str().unwrap());
    let ran = place.run(&[
        "generate",
        "--to",
        &to,
        "--password-file",
        password,
        "--authorities",
        authority,
    ]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(queue.waiting(), 1, "1000 rows");
}
