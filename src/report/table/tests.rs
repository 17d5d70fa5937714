//! Expected tables, written by hand.

use super::super::{KeyValue, Named, Report, example};
use super::*;

fn text(report: &Report, width: Option<usize>) -> String {
    let mut out = Vec::new();
    write(report, Style { width, color: false }, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_report_with_every_section_on_eighty_columns() {
    let expected = "\
100 rows, 12 filtered, 3 rejected · cpu, exact · 2 threads, avx512 · 4.1 ms

column  count  missing  mean       std      min      max   q0.5  q0.99  variance
──────  ─────  ───────  ────  ────────  ───────  ───────  ─────  ─────  ────────
temp      100        0  12.5  0.666667  11.1667  13.8333  12.25     14  0.444444
wind        1       99  -3    –         -3       -3        –         –  –

Covariance of 98 complete rows
      temp  wind
────  ────  ────
temp   4     0.5
wind   0.5   4

Correlation of 98 complete rows
      temp  wind
────  ────  ────
temp  1     0.25
wind  0.25  1

Differences of adjacent rows
column  count  unordered   mean  std   min   max  variance
──────  ─────  ─────────  ─────  ───  ────  ────  ────────
temp       99          1  0.125    2  -7.5  1000         4

Regression temp ~ wind + twice_wind
term        estimate  std. error  t value
──────────  ────────  ──────────  ───────
intercept      10            0.5     20
wind           -0.25         0.1     -2.5
twice_wind      –            –        –
R² 0.75 · residual std 1.5 · rank 2 of 3 · 98 rows
";
    let shown = text(&example::single(), Some(80));
    assert_eq!(shown, expected, "\n{shown}");
}

#[test]
fn many_groups_are_one_wide_table() {
    let expected = "\
360 rows, 12 filtered, 3 rejected · cpu, exact · 2 threads, avx512 · 4.1 ms

6 groups, windows of 10 min

window_start          station  column  count  mean  std   min   max
────────────────────  ───────  ──────  ─────  ────  ───  ────  ────
2015-01-01T00:00:00Z  a        temp       60   0.1    1  -1.9   2.1
2015-01-01T00:00:00Z  b        temp       60  10.1    1   8.1  12.1
2015-01-01T00:10:00Z  a        temp       60   1.1    1  -0.9   3.1
2015-01-01T00:10:00Z  b        temp       60  11.1    1   9.1  13.1
2015-01-01T00:20:00Z  a        temp       60   2.1    1   0.1   4.1
2015-01-01T00:20:00Z  b        temp       60  12.1    1  10.1  14.1
";
    let shown = text(&example::keyed_windows(), Some(72));
    assert_eq!(shown, expected, "\n{shown}");
    let all = text(&example::keyed_windows(), None);
    let head = "window_start          window_end            station  column  count  missing  mean  std   min   max  variance  skewness  kurtosis  sum";
    assert!(all.contains(head), "{all}");
}

#[test]
fn what_is_asked_for_is_split_rather_than_left_out() {
    let mut report = example::single();
    let names: Vec<String> = (0..30).map(|i| format!("a_rather_long_column_name_{i}")).collect();
    let matrix = report.groups[0].correlation.as_mut().unwrap();
    matrix.matrix = vec![vec![Some(0.123_456_7); 30]; 30];
    matrix.columns = names;
    for width in [40, 80, 160] {
        let shown = text(&report, Some(width));
        let widest = shown.lines().filter(|l| !l.contains('·')).map(cells).max().unwrap();
        assert!(widest <= width, "{widest} cells:\n{shown}");
        assert_eq!(shown.matches("0.123457").count(), 900);
        assert!(shown.contains("q0.99"));
    }
}

#[test]
fn names_of_any_script_stay_in_line() {
    let mut report = example::single();
    example::rename(&mut report.groups[0].columns, 0, "温度計");
    example::rename(&mut report.groups[0].columns, 1, "ue\u{301}");
    let shown = text(&report, None);
    let table: Vec<&str> = shown.lines().skip(2).take(4).collect();
    let place = |line: &str, what: &str| cells(&line[..line.find(what).unwrap()]) + cells(what);
    assert_eq!(place(table[0], "count"), place(table[2], "100"), "{shown}");
    assert_eq!(place(table[0], "missing"), place(table[3], "99"), "{shown}");
}

#[test]
fn nothing_from_the_data_steers_the_terminal() {
    let nasty = "\u{1b}[2J\u{7}\n\u{202e}";
    let mut single = example::single();
    single.device = nasty.into();
    example::rename(&mut single.groups[0].columns, 0, nasty);
    single.groups[0].correlation.as_mut().unwrap().columns[0] = nasty.into();
    single.groups[0].regression.as_mut().unwrap().terms[1] = nasty.into();
    single.groups[0].regression.as_mut().unwrap().target = nasty.into();
    let mut wide = example::keyed_windows();
    wide.groups[0].key = Some(Named::from_iter([(nasty.to_owned(), KeyValue::Text(nasty.into()))]));
    let mut titled = single.clone();
    titled.groups[0].key = wide.groups[0].key.clone();
    for report in [&single, &wide, &titled] {
        for width in [None, Some(80)] {
            let shown = text(report, width);
            assert!(
                !shown.chars().any(|c| c.is_control() && c != '\n') && !shown.contains('\u{202e}'),
                "{shown:?}"
            );
            assert!(shown.contains(r"\u{1b}[2J"), "{shown}");
        }
    }
}

#[test]
fn color_only_adds_escapes() {
    let report = example::single();
    let mut out = Vec::new();
    let style = Style {
        width: Some(80),
        color: true,
    };
    write(&report, style, &mut out).unwrap();
    let colored = String::from_utf8(out).unwrap();
    assert!(colored.contains("\x1b[1mcolumn"));
    let plain = ["\x1b[0m", "\x1b[1m", "\x1b[2m"]
        .iter()
        .fold(colored, |text, code| text.replace(code, ""));
    assert_eq!(plain, text(&report, Some(80)));
}
