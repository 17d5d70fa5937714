//! What may stand behind an option: values that begin with `-`, formulas, sizes, quantiles; and messages that name the
//! value that may not.

use crate::command::Place;
use std::process::Command;

/// A place with `table.csv`: x = 0, 1, …, 9, y = 3x + 2 and "wind speed" = 20 − 2x.
fn place() -> Place {
    let place = Place::new();
    let row = |x: i32| format!("{x},{},{}\n", 3 * x + 2, 20 - 2 * x);
    let rows: String = (0..10).map(row).collect();
    place.write("table.csv", format!("x,y,wind speed\n{rows}"));
    place
}

#[test]
fn expressions_may_begin_with_a_minus() {
    let place = place();
    for args in [
        &["--where", "-x > -3"][..],
        &["--where=-x > -3"],
        &["--where", "-3 < -x"],
    ] {
        let report = place.analyze(&[&["table.csv"], args].concat());
        assert_eq!((&report["rows"], &report["filtered_rows"]), (&3.into(), &7.into()));
    }
    let report = place.analyze(&["table.csv", "--define", "m=-x", "--define", "n = -m", "--where", "-2>m"]);
    let columns = &report["groups"][0]["columns"];
    assert_eq!(
        (&columns["m"]["max"], &columns["n"]["min"]),
        (&(-3.0).into(), &3.0.into())
    );
}

/// An option whose value was forgotten does not take the next option for it.
#[test]
fn options_are_no_values() {
    let place = place();
    for (args, parts) in [
        (&["--where", "--by", "x"][..], ["'--by'", "--where"]),
        (&["--define", "-o", "r.json"], ["'-o'", "--define"]),
        (&["--regress", "--ridge", "1"], ["'--ridge'", "--regress"]),
        (&["--window", "--time", "x"], ["'--time'", "--window"]),
    ] {
        let outcome = place.run(&[&["analyze", "table.csv"], args].concat());
        outcome.fails(2, &[&parts[..], &["not an option"]].concat());
    }
    assert_eq!(place.names(), ["table.csv"]);
}

#[test]
fn numbers_that_cannot_be_are_named() {
    let place = place();
    for (args, parts) in [
        (&["--quantiles", "0.5,half,0.9"][..], ["`half`", "between 0 and 1"]),
        (&["--quantiles", "0.5,1.25"], ["`1.25`", "between 0 and 1"]),
        (&["--quantiles", "-0.5"], ["`-0.5`", "between 0 and 1"]),
        (&["--quantiles", "50%"], ["`50%`", "0.25,0.5,0.75"]),
        (&["--regress", "y ~ x", "--ridge", "-2"], ["ridge", "-2"]),
        (&["--window", "-5m", "--time", "x"], ["`-5m`", "10s"]),
        (
            &["--window", "5 rows", "--slide", "-1 rows"],
            ["slide", "longer than 0"],
        ),
        (&["--threads", "-1"], ["--threads", "-1"]),
        (&["--max-memory", "-5M"], ["`-5M`", "512MiB"]),
        (&["--max-memory", "1.5G"], ["`1.5G`", "512MiB"]),
    ] {
        place.run(&[&["analyze", "table.csv"], args].concat()).fails(2, &parts);
    }
    let report = place.analyze(&["table.csv", "--quantiles", "0, 0.5 ,1"]);
    let quantiles = report["groups"][0]["columns"]["x"]["quantiles"].as_object().unwrap();
    assert_eq!(quantiles.len(), 3);
}

#[test]
fn formulas_with_quoted_names_and_without_intercept() {
    let place = place();
    let fit = |formula: &str| {
        let report = place.analyze(&["table.csv", "--regress", formula]);
        let regression = report["groups"][0]["regression"].clone();
        let numbers = |name: &str| -> Vec<f64> {
            let values = regression[name].as_array().unwrap().iter();
            values.map(|v| v.as_f64().unwrap()).collect()
        };
        let terms = regression["terms"].as_array().unwrap().iter();
        let terms: Vec<String> = terms.map(|t| t.as_str().unwrap().to_owned()).collect();
        (terms.join(","), numbers("coefficients"))
    };
    // Exact lines: 1e-12 is far above what ten rows of small integers lose in double-double, and far below the digits.
    let near = |got: &[f64], want: &[f64]| got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-12 * w.abs());
    let (terms, got) = fit("y ~ \"wind speed\"");
    assert!(
        terms == "intercept,wind speed" && near(&got, &[32.0, -1.5]),
        "{terms} {got:?}"
    );
    let (terms, got) = fit("\"wind speed\" ~ x");
    assert!(terms == "intercept,x" && near(&got, &[20.0, -2.0]), "{terms} {got:?}");
    // Through the origin: Σxy / Σx² = (3·285 + 2·45) / 285.
    for formula in ["y ~ x - 1", "y ~ x + 0", "y~-1+x"] {
        let (terms, got) = fit(formula);
        assert!(
            terms == "x" && near(&got, &[945.0 / 285.0]),
            "{formula}: {terms} {got:?}"
        );
    }
    let shown = place.run(&["analyze", "table.csv", "--regress", "y ~ \"wind speed\" - 1"]);
    assert!(
        shown.text().contains("Regression y ~ \"wind speed\" - 1\n"),
        "{}",
        shown.text()
    );
    place
        .run(&["analyze", "table.csv", "--regress", "y ~ wind speed"])
        .fails(2, &["double quotes", "y ~ wind speed"]);
}

#[test]
fn sizes_have_units() {
    let place = place();
    for size in ["1", "1B"] {
        let args = ["analyze", "table.csv", "--by", "x", "--max-memory", size];
        place.run(&args).fails(1, &["10 groups", "the 1 bytes of --max-memory"]);
    }
    let one = [
        "analyze",
        "table.csv",
        "--by",
        "x",
        "--where",
        "x = 3",
        "--max-memory",
        "1",
    ];
    place.run(&one).fails(1, &["the report of 1 group take"]);
    for (size, bytes) in [("2K", 2048), ("2k", 2048), ("2KiB", 2048), ("2KB", 2000)] {
        let args = ["analyze", "table.csv", "--by", "x", "--max-memory", size];
        place
            .run(&args)
            .fails(1, &[&format!("the {bytes} bytes of --max-memory")]);
    }
    for size in ["64M", "64MiB", "1G", "1 GB", "1T"] {
        place.analyze(&["table.csv", "--by", "x", "--max-memory", size]);
    }
}

#[test]
fn one_row_is_one_row() {
    let place = place();
    let shown = place.run(&["analyze", "table.csv", "--where", "x = 3"]);
    assert!(shown.text().starts_with("1 row, 9 filtered"), "{}", shown.text());
    let shown = place.run(&["analyze", "table.csv", "--window", "1 row", "--format", "json"]);
    assert_eq!(shown.json()["groups"].as_array().unwrap().len(), 10);
    let page = place.run(&["analyze", "table.csv", "--where", "x = 3", "--format", "html"]);
    assert!(page.text().contains(">1 value<") && !page.text().contains("1 values"));
}

#[test]
fn the_help_says_what_is_always_there_and_what_is_ignored() {
    let place = place();
    let help = place.run(&["analyze", "--help"]);
    let words: Vec<&str> = help.text().split_whitespace().collect();
    let text = words.join(" ");
    for part in [
        "moments (mean, variance, ...) are always reported",
        "windows that overlap are ignored here",
        "Exit status: 0 done",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // And so it is: the same file with and without overlapping windows, another one with windows side by side.
    let steps = |windows: &[&str]| {
        let args = [
            "analyze",
            "table.csv",
            "--stats",
            "differences",
            "--differences-output",
            "d.csv",
            "--format",
            "json",
        ];
        let report = place.run(&[&args[..], windows].concat()).json();
        assert!(report["groups"][0]["columns"]["x"]["mean"].is_number(), "{report}");
        std::fs::read_to_string(place.path("d.csv")).unwrap()
    };
    let plain = steps(&[]);
    assert_eq!(plain.matches(",,").count(), 1);
    assert_eq!(steps(&["--window", "5 rows", "--slide", "1 row"]), plain);
    assert_eq!(steps(&["--window", "5 rows"]).matches(",,").count(), 2);
}

/// `COLUMNS` counts where nothing else tells a width, and only for what goes to standard output.
#[test]
fn tables_keep_to_the_width() {
    let place = place();
    let run = |args: &[&str], columns: &str| {
        let mut command: Command = place.command(args);
        let output = command.env("COLUMNS", columns).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let args = [
        "analyze",
        "table.csv",
        "--quantiles",
        "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
        "--by",
        "x",
    ];
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    let whole = place.run(&args);
    assert!(widest(whole.text()) > 130 && whole.text().contains("kurtosis"));
    for width in [60_usize, 80, 110] {
        let text = run(&args, &width.to_string());
        assert!(widest(&text) <= width, "{text}");
        for name in ["mean", "max", "q0.1", "q0.9"] {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
    for nonsense in ["", "0", "wide"] {
        assert_eq!(widest(&run(&args, nonsense)), widest(whole.text()));
    }
    run(&[&args[..], &["-o", "report.txt"]].concat(), "60");
    let file = std::fs::read_to_string(place.path("report.txt")).unwrap();
    assert!(widest(&file) > 130, "{file}");
}
