//! `transform --differences --gradient --rolling --ewm --zscores`: what users type, and what comes back.

use crate::command::{Outcome, Place, example};

/// Two stations, mixed, with a gap; a second apart each, but for the last row of `b`.
const WEATHER: &str = "ts,city,temp,wind,sky\n2024-01-01T00:00:00Z,a,1,10,x\n2024-01-01T00:00:00Z,b,5,1,\"y, z\"\n\
    2024-01-01T00:00:01Z,a,3,20,x\n2024-01-01T00:00:02Z,a,8,30,\n2024-01-01T00:00:01Z,b,,2,x\n\
    2024-01-01T00:00:05Z,b,11,9,x\n";

fn place() -> Place {
    let place = Place::new();
    place.write("weather.csv", WEATHER);
    place
}

/// The cells of a csv without quotes in what is looked at: header first.
fn cells(outcome: &Outcome) -> Vec<Vec<String>> {
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let text = outcome.text().replace("\"y, z\"", "y");
    text.lines()
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect()
}

/// The cells of one column, without its name.
fn column(outcome: &Outcome, name: &str) -> Vec<String> {
    let cells = cells(outcome);
    let place = cells[0]
        .iter()
        .position(|n| n == name)
        .unwrap_or_else(|| panic!("{name}: {:?}", cells[0]));
    cells[1..].iter().map(|row| row[place].clone()).collect()
}

#[test]
fn rows_keep_their_columns_and_get_more() {
    let place = place();
    let keyed = ["transform", "weather.csv", "--by", "city", "--time", "ts"];
    let run = |more: &[&str]| place.run(&[&keyed, more].concat());
    let outcome = run(&["--columns", "temp,wind", "--differences", "--gradient"]);
    assert_eq!(
        cells(&outcome)[0].join(","),
        "ts,city,temp,wind,sky,temp_difference,temp_gradient,wind_difference,wind_gradient"
    );
    assert!(
        outcome.text().contains("2024-01-01T00:00:00Z,b,5,1,\"y, z\","),
        "{}",
        outcome.text()
    );
    assert_eq!(column(&outcome, "temp_difference"), ["", "", "2", "5", "", ""]);
    assert_eq!(column(&outcome, "wind_difference"), ["", "", "10", "10", "1", "1.75"]);
    assert_eq!(column(&outcome, "temp_gradient"), ["2", "", "3.5", "5", "", ""]);
    // (16 · 1 + 1 · 1.75 · 4 …): slopes 1 and 1.75 over spacings 1 and 4 are 1 · 4/5 + 1.75 · 1/5.
    assert_eq!(
        column(&outcome, "wind_gradient"),
        ["10", "1", "10", "10", "1.15", "1.75"]
    );
    let second = run(&["--columns", "wind", "--gradient", "--edge-order", "2"]);
    assert_eq!(column(&second, "wind_gradient")[1], "0.85");

    let rolling = run(&[
        "--columns",
        "temp,wind",
        "--rolling",
        "mean,std,correlation",
        "--over",
        "2s",
    ]);
    assert_eq!(column(&rolling, "temp_mean_2s"), ["1", "5", "2", "5.5", "5", "11"]);
    assert_eq!(column(&rolling, "wind_std_2s")[4], "0.7071067811865476");
    assert_eq!(column(&rolling, "temp_wind_correlation_2s"), ["", "", "1", "1", "", ""]);
    let rows = run(&[
        "--columns",
        "wind",
        "--rolling",
        "max",
        "--over",
        "2 rows",
        "--over",
        "1 row",
    ]);
    assert_eq!(column(&rows, "wind_max_2"), ["", "", "20", "30", "2", "9"]);
    assert_eq!(column(&rows, "wind_max_1"), ["10", "1", "20", "30", "2", "9"]);
    let sooner = run(&[
        "--columns",
        "wind",
        "--rolling",
        "min",
        "--over",
        "2 rows",
        "--min-rows",
        "1",
    ]);
    assert_eq!(column(&sooner, "wind_min_2"), ["10", "1", "10", "20", "1", "2"]);

    let ewm = run(&["--columns", "wind", "--ewm", "mean,variance", "--half-life", "1s"]);
    // 20 and 10 with the weights 1 and 1/2.
    let close = |found: &str, exact: f64| {
        let found: f64 = found.parse().unwrap();
        assert!(
            (found - exact).abs() <= 4.0 * f64::EPSILON * exact.abs(),
            "{found} {exact}"
        );
    };
    close(&column(&ewm, "wind_ewm_mean")[2], 50.0 / 3.0);
    assert_eq!(column(&ewm, "wind_ewm_variance")[..2], ["", ""]);
    let z = column(&run(&["--columns", "wind", "--zscores", "--ddof", "1"]), "wind_zscore");
    assert_eq!([&z[0], &z[2], &z[3]], ["-1", "0", "1"]);
    // 1, 2 and 9 have the mean 4 and the variance (9 + 4 + 25) / 2.
    close(&z[1], -3.0 / 19f64.sqrt());
    // Without keys and time all rows follow each other.
    let plain = place.run(&["transform", "weather.csv", "--differences", "--keep", "city"]);
    assert_eq!(cells(&plain)[0].join(","), "city,temp_difference,wind_difference");
    assert_eq!(column(&plain, "wind_difference"), ["", "-9", "19", "10", "-28", "7"]);
    assert!(
        plain
            .stderr
            .contains("not numeric, so nothing is made of them: ts, city, sky"),
        "{}",
        plain.stderr
    );
}

/// More rows than a batch of the reader holds, to Parquet and back, and from standard input: the same numbers.
#[test]
fn many_rows_go_through_in_batches() {
    let place = Place::new();
    let rows: String = (0..150_000u64)
        .map(|i| format!("{},{}\n", i * i % 1009, i % 7))
        .collect();
    let text = format!("x,k\n{rows}");
    place.write("long.csv", &text);
    let asked = [
        "--columns",
        "x",
        "--by",
        "k",
        "--rolling",
        "mean",
        "--over",
        "100 rows",
        "--gradient",
    ];
    let csv = place.run(&[&["transform", "long.csv"], &asked[..]].concat());
    let fed = place.feed(&[&["transform", "-"], &asked[..]].concat(), text.as_bytes());
    assert!(csv.stdout == fed.stdout);
    let one = place.run(&[&["transform", "long.csv", "--threads", "1"], &asked[..]].concat());
    assert!(csv.stdout == one.stdout);
    let outcome = place.run(&[&["transform", "long.csv", "-o", "long.parquet"], &asked[..]].concat());
    assert_eq!((outcome.status, outcome.text()), (0, ""), "{}", outcome.stderr);
    let back = place.run(&[
        "transform",
        "long.parquet",
        "--columns",
        "x",
        "--differences",
        "--keep",
        "x,k,x_gradient,x_mean_100",
    ]);
    for name in ["x", "k", "x_gradient", "x_mean_100"] {
        assert!(column(&back, name) == column(&csv, name), "{name}");
    }
    let x: Vec<u64> = (0..150_000u64).map(|i| i * i % 1009).collect();
    let (mean, gradient) = (column(&csv, "x_mean_100"), column(&csv, "x_gradient"));
    for i in [692usize, 693, 700, 80_001, 149_000] {
        let window: Vec<u64> = (0..100).filter_map(|k| i.checked_sub(7 * k).map(|i| x[i])).collect();
        let exact = (window.len() == 100).then(|| window.iter().sum::<u64>() as f64 / 100.0);
        // The offset of the mean from a value of the window is rounded, and then the mean.
        match (mean[i].parse::<f64>(), exact) {
            (Ok(found), Some(exact)) => assert!((found - exact).abs() <= f64::EPSILON * exact, "{i}: {found} {exact}"),
            (found, exact) => assert_eq!(found.ok(), exact, "{i}"),
        }
        assert_eq!(
            gradient[i].parse::<f64>().unwrap(),
            (x[i + 7] as f64 - x[i - 7] as f64) / 2.0,
            "{i}"
        );
    }
}

#[test]
fn a_real_file_by_key_and_time() {
    let place = Place::new();
    let weather = example("seattle-weather.csv");
    let outcome = place.run(&[
        "transform",
        &weather,
        "--columns",
        "temp_max,wind",
        "--time",
        "date",
        "--rolling",
        "mean,correlation",
        "--over",
        "30d",
        "--differences",
        "--zscores",
        "--keep",
        "date,temp_max",
    ]);
    let cells = cells(&outcome);
    assert_eq!(cells.len(), 1462);
    assert_eq!(cells[0].len(), 2 + 6 + 1);
    let temp: Vec<f64> = column(&outcome, "temp_max")
        .iter()
        .map(|x| x.parse().unwrap())
        .collect();
    let found: f64 = column(&outcome, "temp_max_mean_30d")[100].parse().unwrap();
    assert!((found - temp[71..101].iter().sum::<f64>() / 30.0).abs() < 1e-12);
    let sum: f64 = column(&outcome, "temp_max_zscore")
        .iter()
        .map(|z| z.parse::<f64>().unwrap())
        .sum();
    assert!(sum.abs() < 1e-9, "{sum}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = place();
    let fails = |args: &[&str], status, parts: &[&str]| {
        place
            .run(&[&["transform", "weather.csv"], args].concat())
            .fails(status, parts);
    };
    fails(&[], 2, &["--predict", "--differences", "--rolling"]);
    fails(&["--rolling", "mean"], 2, &["--over"]);
    fails(&["--over", "5 rows"], 2, &["--rolling"]);
    fails(&["--ewm", "mean"], 2, &["--half-life"]);
    fails(&["--half-life", "5 rows", "--differences"], 2, &["--ewm"]);
    fails(&["--differences", "--predict", "m.json"], 2, &["--predict"]);
    fails(&["--predict", "m.json", "--by", "city"], 2, &["--by"]);
    fails(&["--differences", "--edge-order", "2"], 2, &["--gradient"]);
    fails(&["--rolling", "median", "--over", "5 rows"], 2, &["median", "mean"]);
    fails(&["--rolling", "mean", "--over", "5x"], 2, &["5x"]);
    fails(&["--rolling", "mean", "--over", "0 rows"], 2, &["longer than 0"]);
    fails(&["--rolling", "mean", "--over", "10m"], 2, &["--time", "100 rows"]);
    fails(
        &["--rolling", "mean", "--over", "5 rows", "--min-rows", "6"],
        2,
        &["6 rows"],
    );
    fails(&["--ewm", "mean", "--half-life", "10m"], 2, &["--time"]);
    fails(&["--differences", "--columns", "rain"], 2, &["`rain`", "temp"]);
    fails(&["--differences", "--by", "town"], 2, &["`town`"]);
    fails(&["--differences", "--keep", "town"], 2, &["`town`"]);
    fails(&["--differences", "--columns", "sky"], 2, &["`sky`", "not numeric"]);
    fails(
        &["--rolling", "correlation", "--over", "5 rows", "--columns", "temp"],
        2,
        &["two columns"],
    );
    fails(&["--differences", "-o", "weather.csv"], 2, &["weather.csv"]);
    fails(&["--differences", "-o", "out.xml"], 2, &["out.xml"]);
    // The time of all rows goes back where b follows a; those of each key do not.
    fails(
        &["--differences", "--time", "ts", "-o", "out.csv"],
        65,
        &["row 5", "sorted by time"],
    );
    assert_eq!(place.names(), ["weather.csv"], "nothing is left of what failed");
    place.write("taken.csv", "x,x_mean_2\n1,2\n");
    let taken = [
        "transform",
        "taken.csv",
        "--columns",
        "x",
        "--rolling",
        "mean",
        "--over",
        "2 rows",
    ];
    place.run(&taken).fails(2, &["`x_mean_2`", "rename"]);
    place
        .feed(&["transform", "-", "--zscores"], b"x\n1\n")
        .fails(2, &["--zscores", "standard input"]);
    place.write("text.csv", "a,b\nx,y\n");
    place
        .run(&["transform", "text.csv", "--differences"])
        .fails(65, &["no numeric column"]);
}

#[test]
fn bad_rows_and_inputs_without_rows() {
    let place = place();
    place.write("bad.csv", "x\n1\noops\n4\n");
    let asked = ["transform", "bad.csv", "--columns", "x", "--differences", "--zscores"];
    let run = |more: &[&str]| place.run(&[&asked, more].concat());
    run(&["-o", "o.csv"]).fails(65, &["bad.csv", "oops"]);
    let skipped = run(&["--bad-rows", "skip"]);
    assert!(skipped.stderr.contains("1 row could not be read"), "{}", skipped.stderr);
    assert_eq!(column(&skipped, "x_difference"), ["", "3"]);
    run(&["--bad-rows", "quarantine=q.ndjson", "-o", "o.csv"]);
    let kept = std::fs::read_to_string(place.path("q.ndjson")).unwrap();
    assert_eq!(kept.lines().count(), 1, "{kept}");
    place.write("empty.csv", "x,y\n");
    let empty = place.run(&[
        "transform",
        "empty.csv",
        "--differences",
        "--gradient",
        "--columns",
        "x",
    ]);
    assert_eq!(empty.text(), "x,y,x_difference,x_gradient\n");
    assert!(empty.stderr.contains("there are no rows"), "{}", empty.stderr);
}
