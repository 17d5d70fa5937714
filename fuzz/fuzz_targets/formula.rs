//! Regression formulas: one that is read can be written down, with every name in quotes, and reads back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::expr::Formula;
use millstream_fuzz::about_the_input;

fuzz_target!(|text: &str| {
    let Some(formula) = about_the_input(Formula::parse(text)) else {
        return;
    };
    assert!(
        formula.intercept || !formula.terms.is_empty(),
        "there is something to fit"
    );
    assert!(!formula.terms.contains(&formula.target));
    let distinct: std::collections::HashSet<_> = formula.terms.iter().collect();
    assert_eq!(distinct.len(), formula.terms.len());
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let mut terms: Vec<_> = formula.terms.iter().map(quoted).collect();
    terms.push(if formula.intercept { "1" } else { "0" }.into());
    let written = format!("{}~{}", quoted(&formula.target), terms.join("+"));
    assert_eq!(
        Formula::parse(&written).expect("it was a formula before"),
        formula,
        "{written}"
    );
});
