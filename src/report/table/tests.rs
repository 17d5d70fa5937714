//! Expected tables, written by hand.

use super::super::{KeyValue, Named, Report, WindowBounds, example};
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
360 rows, 12 filtered, 3 rejected · cpu, exact · 2 threads, avx512
  4.1 ms

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

/// Means of 1e9 that differ by tenths, in windows of one row and of many.
#[test]
fn digits_follow_the_spread_and_stay_in_line() {
    let mut report = example::keyed_windows();
    for (i, group) in report.groups.iter_mut().enumerate() {
        let column = &mut group.columns.values_mut()[0];
        let mean = 1e9 + 0.123 * i as f64;
        (column.mean, column.min, column.max) = (Some(mean), Some(mean - 0.25), Some(mean + 2.0 / 3.0));
        column.std = Some([0.11, 0.31, 0.99, 0.11, 0.0, 250.0][i]);
    }
    let shown = text(&report, None);
    let columns = |report: &Report, name: &str| -> Vec<String> {
        let shown = text(report, None);
        let head = shown.lines().find(|line| line.contains("mean")).unwrap();
        let end = head.find(name).unwrap() + name.len();
        let rows = shown.lines().skip_while(|line| !line.starts_with('─')).skip(1);
        // Numbers are aligned on their points, so a cell ends at its head's end or behind zeros that are left out.
        rows.map(|row| row[..end.min(row.len())].split_whitespace().last().unwrap().to_owned())
            .collect()
    };
    let means = [
        "1000000000",
        "1000000000.123",
        "1000000000.246",
        "1000000000.369",
        "1000000000.492",
        "1000000001",
    ];
    assert_eq!(columns(&report, "mean"), means, "{shown}");
    assert_eq!(
        columns(&report, "max")[..2],
        ["1000000000.667", "1000000000.790"],
        "{shown}"
    );
    let points: Vec<usize> = shown.lines().filter_map(|line| line.find("1000000000.")).collect();
    assert!(
        points.len() >= 5 && points[1..].iter().all(|p| *p == points[1]),
        "{shown}"
    );
    for group in &mut report.groups {
        let column = &mut group.columns.values_mut()[0];
        (column.min, column.max, column.std) = (column.mean, column.mean, None);
    }
    let means = columns(&report, "mean");
    let distinct: std::collections::BTreeSet<&String> = means.iter().collect();
    assert_eq!(distinct.len(), 6, "{means:?}");
}

#[test]
fn labels_give_way_to_the_numbers_beside_them() {
    let mut report = example::keyed_windows();
    for group in &mut report.groups {
        let long = |i: usize| {
            (
                format!("a_rather_long_key_name_{i}"),
                KeyValue::Text(format!("a rather long value {i}")),
            )
        };
        group.key = Some((0..3).map(long).collect());
        example::rename(&mut group.columns, 0, "a_rather_long_column_name");
    }
    for width in [72, 80, 100, 200] {
        let shown = text(&report, Some(width));
        let widest = shown.lines().map(cells).max().unwrap();
        assert!(widest <= width, "{widest} cells of {width}:\n{shown}");
        for part in ["2015-01-01T00:20:00Z", "12.1", "8.1", "1"] {
            assert!(shown.contains(part), "{part}:\n{shown}");
        }
        assert_eq!(shown.contains('…'), width < 200, "{shown}");
    }
}

/// Names are shortened where they are in the way, and only there.
#[test]
fn what_fits_is_not_shortened() {
    let mut report = example::single();
    let long = "a_name_of_exactly_forty_characters_here_";
    example::rename(&mut report.groups[0].columns, 0, long);
    report.groups[0].correlation.as_mut().unwrap().columns = vec![long.into(), "wind".into()];
    let lines = |width: usize| -> Vec<String> {
        let shown = text(&report, Some(width));
        shown
            .lines()
            .filter(|line| line.contains("a_name"))
            .map(str::to_owned)
            .collect()
    };
    // In the statistics, then as head and as label of the correlations, which take 40 + 2 + 40 + 2 + 4 cells.
    assert_eq!(lines(160).iter().map(|l| l.matches(long).count()).sum::<usize>(), 3);
    assert!(
        lines(88).iter().rev().take(2).all(|line| line.contains(long)),
        "{:?}",
        lines(88)
    );
    assert!(
        lines(87).iter().rev().take(2).all(|line| line.contains('…')),
        "{:?}",
        lines(87)
    );
}

#[test]
fn windows_of_rows_tell_their_length_once() {
    let mut report = example::keyed_windows();
    for (i, group) in report.groups.iter_mut().enumerate() {
        let start = 10 * i as u64;
        group.window = Some(WindowBounds::Rows { start, end: start + 10 });
    }
    let shown = text(&report, Some(60));
    assert!(shown.contains("6 groups, windows of 10 rows\n"), "{shown}");
    assert!(
        shown.contains("window_start") && !shown.contains("window_end"),
        "{shown}"
    );
    report.groups[5].window = Some(WindowBounds::Rows { start: 50, end: 52 });
    let shown = text(&report, Some(60));
    assert!(shown.contains("6 groups\n") && shown.contains("window_end"), "{shown}");
}

#[test]
fn one_of_anything_is_singular() {
    let mut report = example::single();
    report.rows = 1;
    report.groups[0].rows = 1;
    report.groups[0].key = Some(Named::from_iter([("k".to_owned(), KeyValue::Integer(1))]));
    report.groups[0].covariance.as_mut().unwrap().rows = 1;
    report.groups[0].correlation.as_mut().unwrap().rows = 1;
    report.groups[0].regression.as_mut().unwrap().rows = 1;
    let shown = text(&report, None);
    assert!(shown.starts_with("1 row, "), "{shown}");
    for part in [
        "k = 1 · 1 row\n",
        "Covariance of 1 complete row\n",
        "rank 2 of 3 · 1 row\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(
        !shown.contains("1 rows") && !shown.contains("row of") && !shown.contains("complete rows"),
        "{shown}"
    );
}

#[test]
fn formulas_read_back_as_they_were_asked() {
    let mut report = example::single();
    let fit = report.groups[0].regression.as_mut().unwrap();
    fit.target = "body mass".into();
    fit.terms[0] = "intercept".into();
    fit.terms[1] = "5th \"ring\"".into();
    let caption = |report: &Report| {
        let shown = text(report, None);
        shown
            .lines()
            .find(|line| line.starts_with("Regression"))
            .unwrap()
            .to_owned()
    };
    let with = "Regression \"body mass\" ~ \"5th \"\"ring\"\"\" + twice_wind";
    assert_eq!(caption(&report), with);
    report.groups[0].regression.as_mut().unwrap().terms.remove(0);
    assert_eq!(caption(&report), format!("{with} - 1"));
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
