//! Configurations that make sense, and every kind that does not.

use super::*;
use crate::spec::Window;

const SAMPLE: &str = include_str!("../../docs/sample.toml");

#[test]
fn the_sample_is_a_configuration_and_shows_the_defaults() {
    let sample = Config::parse(SAMPLE).unwrap();
    let least = Config::parse("feed = { type = 'stdin', format = 'csv' }").unwrap();
    assert_eq!(format!("{:?}", sample.limits), format!("{:?}", least.limits));
    assert_eq!(format!("{:?}", sample.engine), format!("{:?}", least.engine));
    assert_eq!(least.spec.window, Some(Window::tumbling(Duration::from_secs(10))));
    assert_eq!(least.limits.memory_bytes, 512 << 20);
}

#[test]
fn what_makes_no_sense_is_named() {
    let feed = "feed = { type = 'stdin', format = 'csv' }\n";
    let of_summaries = "feed = { type = 'stdin', format = 'summaries' }\n";
    let shared = "feed = { type = 'kafka', brokers = 'localhost:1', topic = 't', format = 'ndjson', share = 'keys' }\n";
    for (text, words) in [
        ("", &["[feed]"][..]),
        ("[feed]\ntype = 'stdn'\nformat = 'csv'", &["stdn", "http_poll"]),
        ("[feed]\ntype = 'tcp'\nformat = 'csv'", &["listen", "127.0.0.1"]),
        ("[feed]\ntype = 'tcp'\nlisten = 'nowhere'\nformat = 'csv'", &["nowhere"]),
        (
            "[feed]\ntype = 'udp'\nlisten = '127.0.0.1:0'\nformat = 'binary'",
            &["columns"],
        ),
        (
            "[[feed]]\ntype = 'stdin'\nformat = 'csv'\n[[feed]]\ntype = 'stdin'\nformat = 'csv'",
            &["name"],
        ),
        ("[feed]\ntype = 'stdin'\nformat = 'csv'\ntyp = 1", &["typ", "unknown"]),
        (&format!("{feed}[window]\nsize = '10 lightyears'"), &["10 lightyears"]),
        (&format!("{feed}[window]\nsize = '1h'\nslide = '7ns'"), &["panes"]),
        (&format!("{feed}[window]\nlate = 'side'"), &["late_path"]),
        (&format!("{feed}[window]\nemit = 'often'"), &["often", "update"]),
        (&format!("{feed}[rows]\nwhere = 'temp >'"), &["[rows] where"]),
        (&format!("{feed}[rows]\ntime_unit = 'h'"), &["time_unit", "`h`"]),
        (&format!("{feed}[statistics]\nregress = 'y x'"), &["regress"]),
        (&format!("{feed}[statistics]\nquantiles = [1.5]"), &["1.5"]),
        (&format!("{feed}[engine]\nbatch_rows = 0"), &["batch_rows"]),
        (&format!("{feed}[[sink]]\ntype = 'file'"), &["path"]),
        (
            &format!("{feed}[[sink]]\ntype = 'stdout'\n[[sink]]\ntype = 'stdout'"),
            &["two sinks"],
        ),
        (&format!("{feed}[limits]\nmemory = 'much'"), &["memory", "much"]),
        (&format!("{shared}[rows]\nkey = ['k']"), &["[rows] time"]),
        (&format!("{shared}[rows]\ntime = 't'"), &["[rows] key", "summaries"]),
        (
            &format!("{shared}[rows]\ntime = 't'\nkey = ['k']\n[state]\ndirectory = 's'"),
            &["line", "[state]", "group"],
        ),
        (
            &format!("{shared}[rows]\ntime = 't'\nkey = ['k']\n[window]\nsize = '10 rows'"),
            &["[window] size"],
        ),
        (
            &format!("{shared}[rows]\ntime = 't'\nkey = ['k']\n[window]\nemit = 'update'"),
            &["[window] emit"],
        ),
        (
            &format!("{shared}[rows]\ntime = 't'\nkey = ['k']\n[[alert]]\nname = 'a'\nwhen = 'x.mean > 1'"),
            &["[[alert]]"],
        ),
        (
            &format!(
                "{}[rows]\ntime = 't'\nkey = ['partition']",
                shared.replace("keys", "summaries")
            ),
            &["[rows] key", "partition"],
        ),
        (
            &format!(
                "{}[rows]\ntime = 't'\n[window]\nsize = '10s'\nslide = '5s'",
                shared.replace("keys", "summaries")
            ),
            &["[window] slide"],
        ),
        (&format!("{shared}[rows]\ntime = 't'\nkey = ['k']"), &["[rows] columns"]),
        (
            &format!("{of_summaries}[window]\nmax_ahead = '1h'"),
            &["[window] max_ahead"],
        ),
        (&shared.replace("keys", "rows"), &["share", "rows"]),
        (&format!("{of_summaries}[rows]\ntime = 't'"), &["[rows] time"]),
        (
            &format!("{of_summaries}[window]\nsize = 'unbounded'"),
            &["[window] size"],
        ),
        (
            "[[feed]]\nname = 'a'\ntype = 'stdin'\nformat = 'summaries'\n[[feed]]\nname = 'b'\ntype = 'stdin'\nformat = 'csv'",
            &["summaries", "every feed"],
        ),
        (
            &format!("{feed}[window]\nlateness = '0s'\nsize = '10 parsecs'"),
            &["line 4: [window] size", "10 parsecs"],
        ),
        (
            &format!("{feed}[window]\nsize = '10s'\nslide = 'often'"),
            &["line 4: [window] slide"],
        ),
        (
            "[[feed]]\nname = 'a'\ntype = 'stdin'\nformat = 'csv'\n[[feed]]\nname = 'b'\ntype = 'udp'\n\
             listen = '127.0.0.1:0'\nformat = 'xml'",
            &["line 9: feed `b`: format", "xml"],
        ),
        (
            "[feed]\ntype = 'udp'\nlisten = '127.0.0.1:0'\nformat = 'csv'",
            &["line 1: feed `main`: columns", "datagram"],
        ),
        (
            "[feed]\ntype = 'http_poll'\nurl = 'ftp://x/'\nformat = 'csv'",
            &["line 3: feed `main`: url"],
        ),
        (
            "[feed]\ntype = 'http_poll'\nurl = 'http:///x'\nformat = 'csv'",
            &["line 3: feed `main`: url"],
        ),
        (
            "[feed]\ntype = 'http_poll'\nurl = 'http://x/'\ninterval = '0s'\nformat = 'csv'",
            &["line 4: feed `main`: interval"],
        ),
        (
            &format!("{feed}[[sink]]\ntype = 'stdout'\n[[sink]]\ntype = 'file'\npath = 'x.csv'\nroll = '1MiB'"),
            &["line 7: [[sink]] 2: roll", "parquet"],
        ),
        (
            &format!("{feed}[[sink]]\ntype = 'stdout'\npath = 'x'"),
            &["line 4: [[sink]] 1: path"],
        ),
        (
            &format!("{feed}[[sink]]\ntype = 'stdout'\nroll = '1MiB'"),
            &["line 4: [[sink]] 1: roll"],
        ),
        (
            &format!("{feed}[[sink]]\ntype = 'stdout'\nformat = 'parquet'"),
            &["line 4: [[sink]] 1: format"],
        ),
        (
            &format!("{feed}[[sink]]\ntype = 'sqlite'\npath = 'x'\nformat = 'csv'"),
            &["line 5: [[sink]] 1: format"],
        ),
        (
            &format!("{feed}[window]\nlate_path = 'x'"),
            &["line 3: [window] late_path", "side"],
        ),
        (
            &format!("{feed}[window]\nemit_interval = '1s'"),
            &["line 3: [window] emit_interval", "update"],
        ),
        (
            &format!("{feed}[window]\nemit = 'update'\nemit_interval = '0s'"),
            &["line 4: [window] emit_interval"],
        ),
        (
            &format!("{feed}[limits]\nconnections = 0"),
            &["line 3: [limits] connections", "at least 1"],
        ),
        (&format!("{feed}[limits]\nkeys = 0"), &["line 3: [limits] keys"]),
        (&format!("{feed}[limits]\nmemory = '0'"), &["line 3: [limits] memory"]),
        (&format!("{feed}[limits]\nbody = '0'"), &["line 3: [limits] body"]),
        (&format!("{feed}[limits]\nline = '0'"), &["line 3: [limits] line"]),
        (
            &format!("{feed}[limits]\nidle_connection = '0s'"),
            &["line 3: [limits] idle_connection"],
        ),
    ] {
        let error = Config::parse(text).expect_err(text);
        assert_eq!(error.exit_code(), 78, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{error:?} lacks {word}");
        }
    }
}

#[test]
fn definitions_may_have_names_with_blanks() {
    let text = "feed = { type = 'stdin', format = 'csv' }\n[rows]\ndefine = { 'a b' = 'x - y' }";
    assert_eq!(Config::parse(text).unwrap().rows.definitions[0].name, "a b");
}

/// Every option of a feed stands beside a type that has it, and is refused beside the others.
#[test]
fn an_option_that_a_type_does_not_have_is_refused_by_name() {
    let options = [
        ("listen = '127.0.0.1:0'", &["tcp", "udp", "http"][..]),
        ("path = 'in.csv'", &["file"]),
        ("follow = true", &["file"]),
        ("url = 'http://127.0.0.1/'", &["http_poll"]),
        ("interval = '1s'", &["http_poll"]),
        ("headers_file = 'h'", &["http_poll"]),
        ("tls = { certificate = 'c', key = 'k' }", &["tcp", "http"]),
        ("token_file = 't'", &["tcp", "http"]),
        ("token_env = 'T'", &["tcp", "http"]),
        ("insecure = true", &["tcp", "udp", "http"]),
    ];
    let needed = [
        ("stdin", ""),
        ("file", "path = 'in.csv'"),
        ("tcp", "listen = '127.0.0.1:0'"),
        ("udp", "listen = '127.0.0.1:0'"),
        ("http", "listen = '127.0.0.1:0'"),
        ("http_poll", "url = 'http://127.0.0.1/'"),
    ];
    for (kind, needs) in needed {
        for (option, kinds) in options {
            let option = if option == needs { "" } else { option };
            let text = format!("[feed]\ntype = '{kind}'\nformat = 'ndjson'\n{needs}\n{option}\n");
            let parsed = Config::parse(&text);
            if option.is_empty() || kinds.contains(&kind) {
                assert!(parsed.is_ok(), "{text}: {parsed:?}");
                continue;
            }
            let key = option.split(' ').next().unwrap();
            let said = parsed.unwrap_err().to_string();
            assert!(
                said.contains(&format!("line 5: feed `main`: {key}: ")),
                "{text}: {said}"
            );
        }
    }
}

#[test]
fn the_page_of_a_run_may_have_tls_and_a_token() {
    let text = "feed = { type = 'stdin', format = 'csv' }\n[server]\nlisten = '127.0.0.1:0'\n\
                tls = { certificate = 'c.pem', key = 'k.pem' }\ntoken_env = 'TOKEN'";
    let access = Config::parse(text).unwrap().server_access;
    assert_eq!(access.tls, Some(("c.pem".into(), "k.pem".into())));
    assert_eq!((access.token_env.as_deref(), access.insecure), (Some("TOKEN"), false));
}
