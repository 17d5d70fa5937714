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
