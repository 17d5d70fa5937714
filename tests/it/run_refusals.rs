//! What `millstream run` refuses at once `millstream validate` refuses too, with the same status; and what a run tells
//! those who watch it.

use crate::command::Place;
use crate::feed_support::wait_for;
use crate::http_client::{get, post, send};
use crate::runs::Running;
use std::fs;
use std::net::{SocketAddr, TcpListener};

const FILE: &str = "[feed]\ntype = \"file\"\npath = \"in.csv\"\n";

fn place() -> Place {
    let place = Place::new();
    place.write("in.csv", "a,b\n1,2\n2,3\n");
    place.write("short", "ab\n");
    place.write("token", "0123456789abcdef\n");
    place.write("none.pem", "no certificate\n");
    place.write("none.db", "no database, but long enough to be looked at\n");
    place
}

fn listening(kind: &str, address: &str, more: &str) -> String {
    let columns = if kind == "udp" { "columns = [\"a\"]\n" } else { "" };
    format!("[feed]\ntype = \"{kind}\"\nlisten = \"{address}\"\nformat = \"csv\"\n{columns}{more}")
}

#[test]
fn what_a_run_refuses_is_no_configuration_that_runs() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let local = "127.0.0.1:0";
    let both = format!(
        "[[feed]]\nname = \"x\"\ntype = \"tcp\"\nlisten = \"{free}\"\nformat = \"csv\"\n\
         [[feed]]\nname = \"y\"\ntype = \"http\"\nlisten = \"{free}\"\nformat = \"csv\"\n"
    );
    let cases = [
        (listening("tcp", "0.0.0.0:0", ""), 78, "needs TLS"),
        (listening("http", "0.0.0.0:0", ""), 78, "needs TLS"),
        (
            listening("http", "0.0.0.0:0", "token_file = \"token\"\n"),
            78,
            "needs TLS",
        ),
        (listening("udp", "0.0.0.0:0", ""), 78, "insecure"),
        (format!("{FILE}[server]\nlisten = \"0.0.0.0:0\"\n"), 78, "needs TLS"),
        (
            listening("tcp", local, "token_env = \"MILLSTREAM_NO_SUCH_TOKEN\"\n"),
            78,
            "is not set",
        ),
        (listening("tcp", local, "token_file = \"short\"\n"), 78, "2 bytes"),
        (listening("http", local, "token_file = \"missing\"\n"), 66, "missing"),
        (
            format!("{FILE}[server]\nlisten = \"{local}\"\ntoken_file = \"short\"\n"),
            78,
            "2 bytes",
        ),
        (
            listening(
                "tcp",
                local,
                "tls = { certificate = \"none.pem\", key = \"none.pem\" }\n",
            ),
            78,
            "none.pem",
        ),
        (both, 66, &*free),
        (
            format!("{FILE}[[sink]]\ntype = \"sqlite\"\npath = \"none.db\"\n"),
            78,
            "none.db",
        ),
        (
            format!("{FILE}[[sink]]\ntype = \"file\"\npath = \"short\"\nformat = \"ndjson\"\n"),
            78,
            "no file of reports",
        ),
        (
            format!("{FILE}[[sink]]\ntype = \"file\"\npath = \"short\"\nformat = \"csv\"\n"),
            78,
            "header",
        ),
        (
            format!("{FILE}[limits]\nquarantine = \"short\"\n"),
            74,
            "something else",
        ),
        (
            format!("{FILE}[[alert]]\nname = \"x\"\nwhen = \"c.mean > 1\"\n"),
            78,
            "alert `x`",
        ),
        (format!("{FILE}[rows]\ncolumns = [\"c\"]\n"), 65, "no column `c`"),
        (format!("{FILE}[rows]\nkey = [\"c\"]\n"), 78, "no column `c`"),
    ];
    for (config, status, said) in cases {
        let place = place();
        place.write("run.toml", &config);
        let before = place.names();
        place.run(&["validate", "run.toml"]).fails(status, &[said]);
        assert_eq!(place.names(), before, "{config}");
        place.run(&["run", "run.toml"]).fails(status, &[said]);
    }
    // Columns that are named are enough, also where no file is to be opened.
    let place = place();
    let named = format!(
        "{}[rows]\ncolumns = [\"a\"]\n[[alert]]\nname = \"x\"\nwhen = \"WHEN\"\n",
        listening("tcp", local, "")
    );
    for (when, status) in [("c.mean > 1", 78), ("a.mean >", 78), ("a.mean > 1", 0)] {
        place.write("run.toml", named.replace("WHEN", when));
        for args in [
            &["validate", "run.toml"][..],
            &["validate", "--no-environment", "run.toml"],
        ] {
            let outcome = place.run(args);
            assert_eq!(outcome.status, status, "{when}: {}", outcome.stderr);
        }
    }
    // What is there already is gone on behind, and stays as it is.
    let config = format!(
        "{FILE}[[sink]]\ntype = \"file\"\npath = \"o.csv\"\n[[sink]]\ntype = \"sqlite\"\npath = \"o.db\"\n\
         [limits]\nquarantine = \"bad.ndjson\"\n"
    );
    place.write("run.toml", config);
    assert_eq!(place.run(&["run", "run.toml"]).status, 0);
    let before = fs::read(place.path("o.csv")).unwrap();
    let outcome = place.run(&["validate", "run.toml"]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(fs::read(place.path("o.csv")).unwrap(), before);
}

#[test]
fn every_end_is_looked_at_though_one_is_wrong() {
    let place = place();
    fs::write(place.path("o.db"), "no database at all").unwrap();
    let config = format!(
        "{FILE}[[sink]]\ntype = \"sqlite\"\npath = \"o.db\"\n[[sink]]\ntype = \"file\"\npath = \"o.csv\"\n\
         [limits]\nquarantine = \"none/bad.ndjson\"\n[state]\ndirectory = \"state\"\n"
    );
    place.write("run.toml", config);
    let outcome = place.run(&["validate", "run.toml"]);
    let seen = |line: &str| outcome.stderr.lines().any(|said| said.starts_with(line));
    for line in [
        "ok: feed `main`: file",
        "wrong: [[sink]] sqlite o.db:",
        "ok: [[sink]] file o.csv",
        "wrong: [limits] quarantine none/bad.ndjson:",
        "ok: [state] state",
    ] {
        assert!(seen(line), "no `{line}` in {}", outcome.stderr);
    }
    // The first of them is what it ends with.
    outcome.fails(78, &["o.db"]);
}

#[test]
fn the_pages_of_a_run_ask_for_its_token() {
    let place = place();
    place.write(
        "run.toml",
        format!("{FILE}follow = true\n[server]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\n"),
    );
    let mut run = Running::start(&place, &["run", "run.toml"]);
    let address = run.pages();
    assert_eq!(get(address, "/metrics", &[]).status, 401);
    assert_eq!(
        get(address, "/metrics", &[("authorization", "Bearer 0123456789abcdef")]).status,
        200
    );
    let top = place.run(&["top", "--once", "--token-file", "token", &address.to_string()]);
    assert_eq!(top.status, 0, "{}", top.stderr);
    assert!(top.text().contains("main"), "{}", top.text());
}

#[test]
fn those_who_watch_hear_of_keys_and_of_what_cannot_be_made_durable() {
    let place = place();
    place.write(
        "run.toml",
        "[feed]\ntype = \"http\"\nlisten = \"127.0.0.1:0\"\nformat = \"csv\"\n[rows]\nkey = [\"k\"]\n[window]\n\
         size = \"unbounded\"\n[state]\ndirectory = \"state\"\ninterval = \"50ms\"\n[server]\nlisten = \"127.0.0.1:0\"\n",
    );
    let mut run = Running::start(&place, &["run", "run.toml"]);
    let address = run.pages();
    let feed: SocketAddr = run.address("listens on http ").parse().unwrap();
    let shows = |line: &str| get(address, "/metrics", &[]).body.contains(line);
    let body = "k,a\nx,1\ny,2\nz,3\nx,4\n";
    let request = post("/rows", &[("content-type", "text/csv")], body.as_bytes());
    let posted = || send(feed, &request).status;
    // The journal begins with the first rows, and has no place to.
    fs::remove_dir(place.path("state/journal-main")).unwrap();
    assert_eq!(posted(), 503);
    wait_for("a failure of the journal", || {
        !shows("millstream_journal_failures_total{feed=\"main\"} 0\n") && get(address, "/health", &[]).status == 503
    });
    fs::create_dir(place.path("state/journal-main")).unwrap();
    wait_for("room", || posted() == 200);
    wait_for("three keys", || shows("millstream_keys{feed=\"main\"} 3\n"));
    wait_for("health", || get(address, "/health", &[]).status == 200);
    fs::rename(place.path("state"), place.path("away")).unwrap();
    wait_for("a failure", || {
        let health = get(address, "/health", &[]);
        health.status == 503 && health.body.contains("a checkpoint could not be taken")
    });
    fs::rename(place.path("away"), place.path("state")).unwrap();
    wait_for("health", || get(address, "/health", &[]).status == 200);
    run.end_by("-TERM");
}
