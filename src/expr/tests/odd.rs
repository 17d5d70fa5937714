//! Texts that are not expressions, and those that are too large: always an error that says why, never a crash.

use super::*;
use std::time::{Duration, Instant};

#[track_caller]
fn refused(text: &str) -> String {
    match Expr::parse(text) {
        Err(Error::Usage(message)) => message,
        other => panic!("{text:.80}: {other:?}"),
    }
}

#[test]
fn what_is_not_an_expression() {
    for text in [
        "",
        "   ",
        "\n\t",
        ";",
        "x;",
        "x; y",
        "(",
        ")",
        "(x",
        "x)",
        "x +",
        "* x",
        "x y",
        "x 1",
        "1 2",
        "'a",
        "\"a",
        "a = 'b",
        "x > > 1",
        "select 1",
        "x, y",
        "x as y",
        "case when",
        "x in",
        "x in ()",
        "f(",
        "()",
        "x between 1",
        "x is",
        "x like",
        "-- x",
        "x -- y",
        "/* x */",
        "x /* y",
        "x --1",
        "\0",
        "@\u{c}",
        "@(x",
        "@\u{c}\u{c}x",
        "x \u{0} y",
        "°C > 1",
        "💧 > 1",
        "2m_temp",
        "x[1",
        "{",
        "}",
        "\\",
        "x ~ 'a'",
        ".",
        "..",
        "a.",
        "1e999",
        "1L",
        "''' ",
        "=",
        "x = = 1",
        "\u{202e}",
        "%",
        "x %",
        "$",
        "?",
        ":a",
        "x::",
        "cast(x as)",
        "cast(x)",
    ] {
        let message = refused(text);
        assert!(!message.is_empty() && message.len() < 2000, "{text}: {message}");
    }
}

#[test]
fn what_sql_has_and_this_does_not() {
    for (text, fragment) in [
        ("x in (select 1)", "select 1"),
        ("(select 1) > x", "select 1"),
        ("exists (select 1)", "exists"),
        ("1 + sum(x)", "sum(x)"),
        ("sum(x) over (partition by y)", "over"),
        ("count(*)", "count(*)"),
        ("abs(distinct x)", "distinct"),
        ("x = ?", "`?`"),
        ("x = $1", "`$1`"),
        ("x ^ 2", "x ^ 2"),
        ("x & 1", "x & 1"),
        ("x <=> y", "x <=> y"),
        ("x::int", "int"),
        ("cast(x as text)", "text"),
        ("(1, 2)", "(1, 2)"),
        ("extract(year from t)", "extract"),
        ("interval '1' day", "interval"),
        ("x is distinct from y", "distinct"),
        ("x like 'a' escape 'b'", "escape"),
        ("substring(x from 1)", "substring"),
        ("a[1]", "a[1]"),
        ("random()", "random()"),
        ("x'ff'", "ff"),
        ("position('a' in x)", "position"),
        ("floor(x to day)", "day"),
        ("a collate b", "collate"),
        ("x = any(y)", "any"),
        ("s.abs(x)", "s.abs"),
        ("time '10:00'", "10:00"),
    ] {
        let message = refused(text).to_lowercase();
        assert!(
            message.contains("is not supported") && message.contains(fragment),
            "{text}: {message}"
        );
        assert!(
            message.contains("between") && message.contains("starts_with"),
            "{text}: {message}"
        );
    }
}

#[test]
fn messages_quote_little() {
    let message = refused(&format!("{} +", "ü".repeat(1000)));
    assert!(message.len() < 400 && message.contains("…`"), "{message}");
    assert!(refused("x \u{1b}[31m").contains("\\u{1b}"));
}

#[test]
fn unicode_names_need_no_quotes() {
    assert_eq!(
        Expr::parse("température > größe").unwrap().columns(),
        ["température", "größe"]
    );
    assert_eq!(Expr::parse("\"°C\" > 1").unwrap().columns(), ["°C"]);
}

#[test]
fn beyond_the_limits() {
    let chain = |terms: usize| format!("1{}", "+1".repeat(terms));
    for text in [
        "(".repeat(100_000),
        "-".repeat(100_000),
        "not ".repeat(100_000),
        chain(100_000),
        "a".repeat(100_000),
    ] {
        assert!(refused(&text).contains("at most 65536 are read"), "{text:.20}");
    }
    for text in ["(".repeat(30_000), chain(30_000), "x=".repeat(30_000), "[".repeat(2000)] {
        assert!(refused(&text).contains("at most 1000 are read"), "{text:.20}");
    }
    let nested = |levels: usize| format!("{}x{}", "(".repeat(levels), ")".repeat(levels));
    assert!(refused(&nested(400)).contains("nested too deeply"));
    assert!(refused(&format!("{}x", "- ".repeat(400))).contains("nested too deeply"));
    // The parser reads the innermost `not` as a name then, and stumbles over what follows.
    refused(&format!("{} x", "not ".repeat(400)));
    refused(&format!("{} (x)", "not ".repeat(400)));
    assert!(Expr::parse(&nested(NESTING_MAX / 2)).is_ok());
}

#[test]
fn long_chains_within_the_limits() {
    let batch = table();
    let sum = format!("1{}", "+1".repeat(TOKENS_MAX - 1));
    let sum = Expr::parse(&sum)
        .unwrap()
        .bind(&batch.schema())
        .unwrap()
        .evaluate(&batch)
        .unwrap();
    assert_eq!(sum.as_primitive::<Float64Type>().value(0), 1000.0);
    // One that fails at its end is dropped by the parser.
    refused(&format!("1{} )", "+1".repeat(TOKENS_MAX - 2)));
    refused(&format!("1{}", " is null".repeat(TOKENS_MAX / 2 - 1)));
    refused(&format!("1{}", "::double".repeat(TOKENS_MAX / 2 - 1)));
}

/// A parser that tries several readings of a prefix can take exponential time; this takes milliseconds.
#[test]
fn nesting_takes_no_time() {
    let prefixes = [
        "(",
        "- ",
        "not ",
        "abs(",
        "case when ",
        "case ",
        "cast(",
        "x in (",
        "x between ",
        "floor(",
        "interval ",
        "array[",
        "date ",
        "exists (",
        "f(x => ",
        "array<",
        "struct<a ",
        "map{",
        "{'a': ",
        "(select ",
        "a[",
        "if(",
        "extract(",
        "overlay(",
        "convert(",
        "x -> ",
        "prior ",
    ];
    for prefix in prefixes {
        for levels in [20, NESTING_MAX, 300] {
            let start = Instant::now();
            let _ = Expr::parse(&prefix.repeat(levels));
            let _ = Expr::parse(&format!("{}x", prefix.repeat(levels)));
            assert!(
                start.elapsed() < Duration::from_secs(5),
                "{prefix} {levels} {:?}",
                start.elapsed()
            );
        }
    }
}

/// Parsing, binding and dropping at every limit fit into half of the stack that threads usually have.
#[test]
fn a_small_stack_is_enough() {
    let work = || {
        for text in [
            format!("{}x{}", "(".repeat(400), ")".repeat(400)),
            format!("{}x{}", "abs(".repeat(NESTING_MAX / 2), ")".repeat(NESTING_MAX / 2)),
            format!("1{}", "+1".repeat(TOKENS_MAX - 1)),
            format!("1{} )", "+1".repeat(TOKENS_MAX - 2)),
        ] {
            let _ = Expr::parse(&text).and_then(|expr| expr.bind(&table().schema()));
        }
    };
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

/// Whole numbers whose digits a float would change are refused, and what the message offers instead is taken.
#[test]
fn whole_numbers_that_would_be_rounded() {
    for (text, offered) in [
        ("9007199254740993", "9007199254740992"),
        ("1234567890123456789", "1234567890123456800"),
        ("100000000000000001", "100000000000000000"),
    ] {
        let message = refused(&format!("x = {text}"));
        assert!(message.contains(&format!("rounded to {offered},")), "{message}");
        assert!(Expr::parse(&format!("x = {offered}")).is_ok(), "{offered}");
    }
    for text in [
        "007",
        "9007199254740992",
        "1000000000000000000000000000000",
        "1e30",
        "9007199254740993.0",
    ] {
        assert!(Expr::parse(&format!("x < {text}")).is_ok(), "{text}");
    }
}
