//! Every form of the report holds the numbers of the json report; differences and models in files are those of the
//! input.

use crate::command::{Outcome, Place, example, timeless};
use serde_json::{Value, json};

const ARGS: [&str; 4] = ["--by", "weather", "--columns", "temp_max,wind"];

/// The means of the json report by key and column, in its order.
fn means(report: &Value) -> Vec<(String, String, f64)> {
    let groups = report["groups"].as_array().unwrap();
    let of_group = |group: &Value| -> Vec<(String, String, f64)> {
        let columns = group["columns"].as_object().unwrap();
        let key = group["key"]["weather"].as_str().unwrap();
        columns
            .iter()
            .map(|(name, c)| (key.to_owned(), name.clone(), c["mean"].as_f64().unwrap()))
            .collect()
    };
    groups.iter().flat_map(of_group).collect()
}

struct Forms {
    place: Place,
    file: String,
    report: Value,
}

impl Forms {
    fn new() -> Self {
        let place = Place::new();
        let file = example("seattle-weather.csv");
        let report = place.analyze(&[&[file.as_str()], &ARGS[..]].concat());
        assert_eq!(means(&report).len(), 10);
        Self { place, file, report }
    }

    fn run(&self, more: &[&str]) -> Outcome {
        let outcome = self
            .place
            .run(&[&["analyze", self.file.as_str()], &ARGS[..], more].concat());
        assert_eq!(outcome.status, 0, "{more:?}: {}", outcome.stderr);
        outcome
    }

    /// The report in this form from standard output, which must be that of a file with the extension.
    fn form(&self, format: &str, extension: &str) -> Vec<u8> {
        let stdout = self.run(&["--format", format]).stdout;
        let name = format!("report.{extension}");
        let outcome = self.run(&["-o", &name]);
        assert!(outcome.stdout.is_empty());
        let file = std::fs::read(self.place.path(&name)).unwrap();
        assert_eq!(self.place.names(), [name.as_str()]);
        // Forms for people show how long it took.
        let shown = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .lines()
                .skip(1)
                .collect::<Vec<_>>()
                .join("\n")
        };
        match format {
            "json" | "html" => {}
            "table" | "markdown" => assert_eq!(shown(&file), shown(&stdout)),
            _ => assert_eq!(file, stdout, "{format}"),
        }
        std::fs::remove_file(self.place.path(&name)).unwrap();
        file
    }

    fn text(&self, format: &str, extension: &str) -> String {
        String::from_utf8(self.form(format, extension)).unwrap()
    }
}

#[test]
fn json_and_ndjson_are_the_same_groups() {
    let forms = Forms::new();
    let document: Value = serde_json::from_str(&forms.text("json", "json")).unwrap();
    assert_eq!(timeless(document), timeless(forms.report.clone()));
    for extension in ["ndjson", "jsonl"] {
        let lines = forms.text("ndjson", extension);
        let groups: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(json!(groups), forms.report["groups"]);
    }
}

#[test]
fn csv_is_a_long_table_with_every_digit() {
    let forms = Forms::new();
    let text = forms.text("csv", "csv");
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    assert_eq!(head[..4], ["weather", "column", "count", "missing"]);
    let mean = head.iter().position(|name| *name == "mean").unwrap();
    let got: Vec<(String, String, f64)> = lines
        .map(|line| (line[0].to_owned(), line[1].to_owned(), line[mean].parse().unwrap()))
        .collect();
    assert_eq!(got, means(&forms.report));
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_the_same_long_table() {
    use arrow::array::{Array, Float64Array, RecordBatch, StringArray};
    let forms = Forms::new();
    let bytes = bytes::Bytes::from(forms.form("parquet", "parquet"));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 1024).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let [batch] = batches.as_slice() else {
        panic!("{} batches", batches.len())
    };
    let text = |name: &str| -> Vec<String> {
        let column = batch.column_by_name(name).unwrap();
        let column: &StringArray = column.as_any().downcast_ref().unwrap();
        column.iter().map(|value| value.unwrap().to_owned()).collect()
    };
    let mean: &Float64Array = batch.column_by_name("mean").unwrap().as_any().downcast_ref().unwrap();
    assert_eq!(mean.null_count(), 0);
    let keys = text("weather").into_iter().zip(text("column"));
    let got: Vec<(String, String, f64)> = keys.zip(mean.values()).map(|((k, c), m)| (k, c, *m)).collect();
    assert_eq!(got, means(&forms.report));
}

/// What the long table has no place for is said, once, and only where it was asked for.
#[test]
fn csv_says_what_it_leaves_out() {
    let forms = Forms::new();
    let all = [
        "--stats",
        "covariance,correlation,differences,quantiles",
        "--regress",
        "wind ~ temp_max",
    ];
    let noted = |format: &str, args: &[&str]| {
        let outcome = forms.run(&[args, &["--format", format]].concat());
        let lines: Vec<String> = outcome.stderr.lines().map(str::to_owned).collect();
        lines
            .into_iter()
            .filter(|line| line.contains("not in a csv"))
            .collect::<Vec<_>>()
    };
    let formats: &[&str] = if cfg!(feature = "parquet") {
        &["csv", "parquet"]
    } else {
        &["csv"]
    };
    for format in formats {
        let notes = noted(format, &all);
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        assert!(note.contains("covariances, correlations, the regression;"), "{note}");
        assert!(noted(format, &all[2..])[0].contains(": the regression;"));
        assert_eq!(noted(format, &["--stats", "differences,quantiles"]), [""; 0]);
    }
    for format in ["json", "ndjson", "table", "markdown", "html"] {
        assert_eq!(noted(format, &all), [""; 0], "{format}");
    }
    // And what it does not name is there.
    let text = forms.run(&[&all[..], &["--format", "csv"]].concat()).stdout;
    let head = String::from_utf8(text).unwrap().lines().next().unwrap().to_owned();
    assert!(
        head.contains("quantile_0.5") && head.contains("differences_mean"),
        "{head}"
    );
}

/// The tables for people show six significant digits: half a unit of the sixth is 5e-6 of the leading digit's place.
fn shows(cell: &str, mean: f64) -> bool {
    let place = 10f64.powf(mean.abs().log10().floor());
    (cell.parse::<f64>().unwrap() - mean).abs() <= 5e-6 * place * (1.0 + 1e-9)
}

#[test]
fn tables_for_people_show_the_same_means() {
    let forms = Forms::new();
    let want = means(&forms.report);
    for (format, extension, separator) in [("markdown", "md", "|"), ("table", "txt", " ")] {
        let text = forms.text(format, extension);
        assert!(!text.contains('\u{1b}'), "colour where there is no terminal");
        let cells = |line: &str| -> Vec<String> {
            line.split(separator)
                .map(str::trim)
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let rows: Vec<Vec<String>> = text.lines().map(cells).collect();
        let head = rows
            .iter()
            .position(|row| row.first().is_some_and(|c| c == "weather"))
            .unwrap();
        let mean = rows[head].iter().position(|name| name == "mean").unwrap();
        for (row, (key, column, value)) in rows[head + 2..].iter().zip(&want) {
            assert_eq!((&row[0], &row[1]), (key, column), "{format}");
            assert!(shows(&row[mean], *value), "{format}: {} is not {value}", row[mean]);
        }
    }
    assert!(shows("16.4391", 16.439_08) && !shows("16.4392", 16.439_08));
    let page = forms.text("html", "html");
    for (key, column, value) in &want {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("<tr><td>{key}</td><td>{column}</td>")))
            .unwrap();
        let cells: Vec<&str> = row.split("</td>").map(|c| c.rsplit('>').next().unwrap()).collect();
        assert!(
            cells
                .iter()
                .any(|cell| cell.parse::<f64>().is_ok() && shows(cell, *value)),
            "{row}: {value}"
        );
    }
}

/// A row of the differences: key, time, and one difference a column.
type Step = (String, String, Option<f64>, Option<f64>);

/// The differences per second of the same weather, computed here from the text of the file.
fn steps_of_the_file(file: &str) -> Vec<Step> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut last: std::collections::HashMap<String, (i64, f64, f64)> = std::collections::HashMap::new();
    let rows = text.lines().skip(1).enumerate().map(|(day, line)| {
        let cells: Vec<&str> = line.split(',').collect();
        let (high, wind): (f64, f64) = (cells[2].parse().unwrap(), cells[4].parse().unwrap());
        // One row a day, without gaps: its number counts days.
        let now = (day as i64, high, wind);
        let before = last.insert(cells[5].to_owned(), now);
        let per_second = |change: f64, days: i64| change / (days * 86_400) as f64;
        let high = before.map(|(d, h, _)| per_second(high - h, now.0 - d));
        let wind = before.map(|(d, _, w)| per_second(wind - w, now.0 - d));
        (cells[5].to_owned(), format!("{}T00:00:00Z", cells[0]), high, wind)
    });
    rows.collect()
}

const DIFFERENCES: [&str; 4] = ["--stats", "differences", "--time", "date"];

/// Both do the same three operations of f64 in the same order, so nothing differs.
#[test]
fn differences_in_csv_are_those_of_the_file() {
    let forms = Forms::new();
    let outcome = forms.run(&[&DIFFERENCES[..], &["--differences-output", "d.csv", "--format", "json"]].concat());
    let text = std::fs::read_to_string(forms.place.path("d.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("weather,time,temp_max,wind"));
    let got: Vec<Step> = lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let number = |cell: &str| (!cell.is_empty()).then(|| cell.parse().unwrap());
            (
                cells[0].to_owned(),
                cells[1].to_owned(),
                number(cells[2]),
                number(cells[3]),
            )
        })
        .collect();
    assert_eq!(got, steps_of_the_file(&forms.file));
    let rain: Vec<f64> = got.iter().filter(|s| s.0 == "rain").filter_map(|s| s.2).collect();
    let report = outcome.json();
    let group = report["groups"]
        .as_array()
        .unwrap()
        .iter()
        .find(|g| g["key"]["weather"] == "rain")
        .unwrap();
    assert_eq!(group["differences"]["temp_max"]["count"], rain.len());
    assert_eq!(
        group["differences"]["temp_max"]["max"],
        rain.iter().copied().fold(f64::MIN, f64::max)
    );
}

#[cfg(feature = "parquet")]
#[test]
fn differences_in_parquet_are_those_of_the_file() {
    use arrow::array::{Array, Float64Array, RecordBatch, StringArray};
    let forms = Forms::new();
    forms.run(&[&DIFFERENCES[..], &["--differences-output", "d.parquet"]].concat());
    let bytes = bytes::Bytes::from(std::fs::read(forms.place.path("d.parquet")).unwrap());
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(bytes, 4096).unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let [batch] = batches.as_slice() else {
        panic!("{} batches", batches.len())
    };
    let key: &StringArray = batch.column(0).as_any().downcast_ref().unwrap();
    let number = |i: usize| -> Vec<Option<f64>> {
        let column: &Float64Array = batch.column(i).as_any().downcast_ref().unwrap();
        column.iter().collect()
    };
    let (high, wind) = (number(2), number(3));
    let want = steps_of_the_file(&forms.file);
    assert_eq!(batch.num_rows(), want.len());
    for (i, (weather, _, a, b)) in want.iter().enumerate() {
        assert_eq!((key.value(i), high[i], wind[i]), (weather.as_str(), *a, *b), "row {i}");
    }
}

#[test]
fn a_saved_model_is_the_regression_of_each_group() {
    let forms = Forms::new();
    let outcome = forms.run(&[
        "--regress",
        "temp_max ~ temp_min + wind",
        "--save-model",
        "m.json",
        "--format",
        "json",
    ]);
    let model: Value = serde_json::from_slice(&std::fs::read(forms.place.path("m.json")).unwrap()).unwrap();
    assert_eq!(model["schema"], "millstream.model/1");
    let report = outcome.json();
    let groups = report["groups"].as_array().unwrap();
    let models = model["models"].as_array().unwrap();
    assert_eq!(models.len(), groups.len());
    for (model, group) in models.iter().zip(groups) {
        let mut want = group["regression"].clone();
        want["key"] = group["key"].clone();
        want["window"] = Value::Null;
        want["model"] = json!("linear");
        want["centred"] = model["centred"].clone();
        assert_eq!(*model, want);
        // Value and slopes at the means of the terms, with their covariance.
        let centred = &model["centred"];
        assert_eq!(centred["centre"].as_array().unwrap().len(), 2);
        for (i, row) in centred["covariance"].as_array().unwrap().iter().enumerate().skip(1) {
            let error = want["standard_errors"][i].as_f64().unwrap();
            assert!((row[i].as_f64().unwrap().sqrt() / error - 1.0).abs() < 1e-12);
        }
    }
}
