//! The html report, read back: its charts are well-formed, hold the numbers of the json report, and draw them where
//! they belong.

use crate::command::{Place, example};
use roxmltree::{Document, Node};
use serde_json::Value;
use std::collections::BTreeMap;

const COLUMNS: [&str; 4] = ["precipitation", "temp_max", "temp_min", "wind"];

/// The page and the json report of the same run.
fn page_and_report() -> (String, Value) {
    let place = Place::new();
    let file = example("seattle-weather.csv");
    let args = [
        "analyze",
        &file,
        "--time",
        "date",
        "--window",
        "30d",
        "--stats",
        "moments,correlation",
        "--format",
    ];
    let page = place.run(&[&args[..], &["html"]].concat());
    assert_eq!(page.status, 0, "{}", page.stderr);
    let report = place.run(&[&args[..], &["json"]].concat()).json();
    (page.text().to_owned(), report)
}

/// Every `<svg>…</svg>` of the page.
fn charts(page: &str) -> Vec<&str> {
    let starts = page.match_indices("<svg").map(|(at, _)| at);
    starts
        .map(|at| &page[at..at + page[at..].find("</svg>").unwrap() + "</svg>".len()])
        .collect()
}

fn elements<'a, 'b>(chart: &'a Document<'b>, name: &str) -> Vec<Node<'a, 'b>> {
    chart
        .descendants()
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", name)))
        .collect()
}

fn number(node: &Node<'_, '_>, attribute: &str) -> f64 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

/// Whether drawn coordinates, which are whole units, are an affine function of the values. The line goes through the
/// outermost two: rounded or cut, they and a point between them are each moved by something in an interval of length 1,
/// so the point is at most 1 from the line. The sign of the slope is `direction`.
fn affine(points: &[(f64, f64)], direction: f64) -> bool {
    let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.0.total_cmp(&b.0);
    let (low, high) = (
        points.iter().min_by(by_value).unwrap(),
        points.iter().max_by(by_value).unwrap(),
    );
    let slope = (high.1 - low.1) / (high.0 - low.0);
    // 1e-9: the f64 rounding of this line itself.
    let on_line = |p: &(f64, f64)| (low.1 + slope * (p.0 - low.0) - p.1).abs() <= 1.0 + 1e-9;
    // Ten units are a pixel: a line lower than 20 pixels would show nothing.
    slope * direction > 0.0 && (high.1 - low.1).abs() > 200.0 && points.iter().all(on_line)
}

#[test]
fn coordinates_that_are_not_affine_are_seen() {
    let line = [(0.0, 2000.0), (1.0, 1500.0), (2.0, 1000.4), (4.0, 0.0)];
    assert!(affine(&line, -1.0) && !affine(&line, 1.0));
    let mut bent = line;
    bent[1].1 = 1503.0;
    assert!(!affine(&bent, -1.0));
}

#[test]
fn window_means_stand_in_the_charts_at_their_places() {
    let (page, report) = page_and_report();
    let groups = report["groups"].as_array().unwrap();
    assert_eq!(groups.len(), 50);
    let mut seen = BTreeMap::new();
    for text in charts(&page) {
        let chart = Document::parse(text).unwrap();
        let dots: Vec<Node<'_, '_>> = elements(&chart, "circle")
            .into_iter()
            .filter(|node| node.attribute("data-window-start").is_some())
            .collect();
        let Some(first) = dots.first() else { continue };
        let column = first.attribute("data-column").unwrap();
        assert!(dots.iter().all(|dot| dot.attribute("data-column") == Some(column)));
        assert_eq!(dots.len(), groups.len(), "{column}");
        for (dot, group) in dots.iter().zip(groups) {
            assert_eq!(dot.attribute("data-window-start"), group["window"]["start"].as_str());
            // The shortest digits that read back: exactly the json's number.
            assert_eq!(
                Some(number(dot, "data-value")),
                group["columns"][column]["mean"].as_f64()
            );
        }
        let values: Vec<(f64, f64)> = dots
            .iter()
            .map(|dot| (number(dot, "data-value"), number(dot, "cy")))
            .collect();
        assert!(affine(&values, -1.0), "{column}: {values:?}");
        // Windows follow each other every 30 days, so the number of a window stands for its start.
        let places: Vec<(f64, f64)> = dots
            .iter()
            .enumerate()
            .map(|(i, dot)| (i as f64, number(dot, "cx")))
            .collect();
        assert!(affine(&places, 1.0), "{column}: {places:?}");
        assert!(
            seen.insert(column.to_owned(), dots.len()).is_none(),
            "{column} is drawn twice"
        );
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), COLUMNS);
}

#[test]
fn heat_maps_hold_every_correlation() {
    let (page, report) = page_and_report();
    let mut maps = 0;
    let groups = report["groups"].as_array().unwrap();
    for text in charts(&page) {
        let chart = Document::parse(text).unwrap();
        let cells: Vec<Node<'_, '_>> = elements(&chart, "rect")
            .into_iter()
            .filter(|node| node.attribute("data-row").is_some())
            .collect();
        if cells.is_empty() {
            continue;
        }
        let matrix = &groups[maps]["correlation"];
        assert_eq!(matrix["columns"].as_array().unwrap().len(), COLUMNS.len());
        assert_eq!(cells.len(), COLUMNS.len() * COLUMNS.len());
        let place = |name: Option<&str>| COLUMNS.iter().position(|c| Some(*c) == name).unwrap();
        for cell in cells {
            let (row, column) = (place(cell.attribute("data-row")), place(cell.attribute("data-column")));
            let value = matrix["matrix"][row][column].as_f64().unwrap();
            assert_eq!(number(&cell, "data-value"), value);
            // Opacity is printed with three digits.
            assert!((number(&cell, "fill-opacity") - value.abs()).abs() <= 0.0005 + f64::EPSILON);
            let signed = if value < 0.0 { "neg" } else { "pos" };
            assert!(cell.attribute("class").unwrap().split(' ').any(|class| class == signed));
            assert!(
                cell.descendants()
                    .any(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "title")))
            );
        }
        maps += 1;
    }
    // The page draws 24 and says so.
    assert_eq!(maps, 24);
    assert!(page.contains("The first 24 of 50 groups are drawn"));
}

#[test]
fn every_column_has_a_distribution() {
    let (page, _) = page_and_report();
    let titles: Vec<String> = charts(&page)
        .into_iter()
        .filter(|text| !text.contains("data-window-start") && !text.contains("data-row"))
        .map(|text| {
            Document::parse(text)
                .unwrap()
                .root_element()
                .attribute("aria-label")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(titles.len(), COLUMNS.len());
    for (title, column) in titles.iter().zip(COLUMNS) {
        assert!(title.contains(column), "{title:?} is not of {column}");
    }
    assert!(page.contains("1461 values"));
}

/// A page of hundreds of charts is of no use: the first 60 columns are drawn, and the page says so.
#[test]
fn many_columns_with_long_names_stay_readable() {
    let place = Place::new();
    let name = |i: usize| format!("column_{i}_{}", "x".repeat(100));
    let row = |f: fn(usize) -> String| (0..70).map(f).collect::<Vec<_>>().join(",");
    let names: Vec<String> = (0..70).map(name).collect();
    let text = format!(
        "{}\n{}\n{}\n",
        names.join(","),
        row(|i| i.to_string()),
        row(|i| (2 * i).to_string())
    );
    place.write("wide.csv", text);
    for (args, charts_wanted) in [(&[][..], 60), (&["--window", "1 row"], 120)] {
        let page = place.run(&[&["analyze", "wide.csv", "--format", "html"], args].concat());
        assert_eq!(page.status, 0, "{}", page.stderr);
        let page = page.text();
        assert_eq!(charts(page).len(), charts_wanted);
        assert!(page.contains("The first 60 of 70 columns are drawn"));
        // Whole names are read out and shown on hover; drawn ones have an end.
        assert!(page.contains(&name(69)));
        let drawn: Vec<String> = charts(page)
            .into_iter()
            .flat_map(|text| {
                let chart = Document::parse(text).unwrap();
                let texts = elements(&chart, "text").into_iter();
                texts
                    .filter_map(|node| Some(node.text()?.trim().to_owned()))
                    .collect::<Vec<_>>()
            })
            .collect();
        let named = drawn.iter().filter(|text| text.starts_with("column_"));
        assert_eq!(named.clone().count(), 60);
        // 460 pixels of at most 7 a character.
        assert!(
            named
                .clone()
                .all(|text| text.contains('…') && text.chars().count() <= 65),
            "{drawn:?}"
        );
    }
    let few = place.run(&["analyze", "wide.csv", "--format", "html", "--columns", &name(3)]);
    assert!(!few.text().contains("columns are drawn"));
}

/// Counts and values that need many digits: no two labels of an axis read the same.
#[test]
fn labels_of_a_histogram_differ() {
    let place = Place::new();
    let rows: String = (0..400)
        .map(|i| format!("{},{}\n", 1e9 + f64::from(i % 37) * 0.01, 1e9 + f64::from(i * i)))
        .collect();
    place.write("near.csv", format!("tight,loose\n{rows}"));
    let page = place.run(&["analyze", "near.csv", "--format", "html"]);
    for text in charts(page.text()) {
        let chart = Document::parse(text).unwrap();
        let mut labels: Vec<String> = elements(&chart, "text")
            .into_iter()
            .filter_map(|node| node.text()?.trim().parse::<f64>().ok().map(|x| (x, node.text())))
            .filter(|(x, _)| *x > 1e6)
            .filter_map(|(_, text)| Some(text?.trim().to_owned()))
            .collect();
        let count = labels.len();
        assert!(count >= 2, "{labels:?}");
        labels.dedup();
        assert_eq!(labels.len(), count, "{labels:?}");
    }
    assert!(
        page.text().contains("mean 1000000000.17"),
        "the mean's label has the digits that its place needs"
    );
}

/// Text at 12 pixels is at most about 7 a character wide: none of it is cut at an edge of its chart.
#[test]
fn labels_stand_inside_their_charts() {
    let place = Place::new();
    let rows: String = (0..300)
        .map(|i| format!("{i},{}\n", 1e9 + f64::from(i % 17) * 0.01))
        .collect();
    place.write("near.csv", format!("t,x\n{rows}"));
    let windows = ["--time", "t", "--time-unit", "s", "--window", "1m"];
    let mut checked = 0;
    for args in [&windows[..], &["--by", "t", "--where", "t < 3"], &[]] {
        let page = place.run(&[&["analyze", "near.csv", "--format", "html"], args].concat());
        for text in charts(page.text()) {
            let chart = Document::parse(text).unwrap();
            let frame = chart.root_element().attribute("viewBox").unwrap();
            let width: f64 = frame.split(' ').nth(2).unwrap().parse().unwrap();
            for label in elements(&chart, "text") {
                let long = label.text().unwrap().trim().chars().count() as f64 * 70.0;
                let before = match label.attribute("text-anchor") {
                    Some("middle") => long / 2.0,
                    Some("end") => long,
                    _ => 0.0,
                };
                let left = number(&label, "x") - before;
                assert!(
                    left >= 0.0 && left + long <= width,
                    "{:?} from {left} of {width}",
                    label.text()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn the_page_is_alone_and_escapes_what_it_shows() {
    let place = Place::new();
    let evil = "<script>alert('x')</script>\"&";
    let column = evil.replace('"', "\"\"");
    place.write("evil.csv", format!("k,\"{column}\"\n{evil},1\n<blink>,2\nplain,4\n"));
    let outcome = place.run(&["analyze", "evil.csv", "--by", "k", "--format", "html"]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    for page in [outcome.text().to_owned(), page_and_report().0] {
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        // Names of namespaces are no addresses that anything is loaded from.
        let loaded = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for word in [
            "http:", "https:", "//cdn", "<script", "<link", "<img", "<iframe", "url(", "@import", "<blink>", "onload",
        ] {
            assert!(!loaded.contains(word), "the page holds {word:?}");
        }
        for text in charts(&page) {
            Document::parse(text).unwrap();
        }
    }
    assert!(outcome.text().contains("&lt;script&gt;alert"));
}
