//! The page is parsed as XML, and what it shows is compared with the report.

use super::super::{KeyValue, Named, WindowBounds, example};
use super::*;

fn page(report: &Report, samples: &[Sample], title: &str) -> String {
    let mut out = Vec::new();
    write(report, samples, title, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// The page without its doctype, which roxmltree reads as a document type without a definition.
fn parse(page: &str) -> roxmltree::Document<'_> {
    roxmltree::Document::parse(page.strip_prefix("<!DOCTYPE html>\n").unwrap()).unwrap()
}

#[test]
fn every_window_mean_can_be_read_back_from_its_chart() {
    let report = example::keyed_windows();
    let page = page(&report, &[], "weather.csv");
    let document = parse(&page);
    let points: Vec<_> = document
        .descendants()
        .filter(|n| n.has_attribute("data-window-start"))
        .collect();
    assert_eq!(points.len(), report.groups.len());
    for group in &report.groups {
        let start = group.window.unwrap().labels().0;
        let key = grid::key_label(group.key.as_ref().unwrap());
        let found: Vec<f64> = points
            .iter()
            .filter(|p| p.attribute("data-window-start") == Some(&start) && p.attribute("data-key") == Some(&key))
            .filter(|p| p.attribute("data-column") == Some("temp"))
            .map(|p| p.attribute("data-value").unwrap().parse().unwrap())
            .collect();
        assert_eq!(found, [group.columns["temp"].mean.unwrap()]);
    }
}

#[test]
fn points_stand_where_their_values_say() {
    let page = page(&example::keyed_windows(), &[], "weather.csv");
    let document = parse(&page);
    let mut places: Vec<(f64, i32)> = document
        .descendants()
        .filter(|n| n.has_attribute("data-value"))
        .map(|n| {
            (
                n.attribute("data-value").unwrap().parse().unwrap(),
                n.attribute("cy").unwrap().parse().unwrap(),
            )
        })
        .collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (low, high) = (places[0], places[places.len() - 1]);
    assert!(low.1 > high.1, "a greater value stands higher");
    for (value, y) in places {
        let expected = f64::from(low.1) + (value - low.0) / (high.0 - low.0) * f64::from(high.1 - low.1);
        assert!(
            (f64::from(y) - expected).abs() <= 1.0,
            "{value} stands at {y}, not {expected}"
        );
    }
}

#[test]
fn a_missing_window_breaks_the_line_and_a_single_key_has_a_band() {
    let mut report = example::keyed_windows();
    report
        .groups
        .retain(|g| g.key.as_ref().unwrap()["station"] == KeyValue::Text("a".into()));
    let count = |report: &Report, name: &str| {
        let page = page(report, &[], "t");
        parse(&page)
            .descendants()
            .filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", name)))
            .count()
    };
    assert_eq!(
        (count(&report, "polyline"), count(&report, "polygon")),
        (1 + axes_lines(&report), 1)
    );
    let mut later = report.groups[2].clone();
    for (i, group) in report.groups.iter_mut().enumerate() {
        group.key = later.key.clone();
        assert_eq!(group.rows, 60, "{i}");
    }
    let start_ns = example::START_NS + 4 * example::LENGTH_NS;
    later.window = Some(WindowBounds::Time {
        start_ns,
        end_ns: start_ns + example::LENGTH_NS,
    });
    report.groups.push(later);
    assert_eq!(count(&report, "polyline"), 2 + axes_lines(&report));
}

/// Lines of axes and ticks, which are polylines too.
fn axes_lines(report: &Report) -> usize {
    let page = page(report, &[], "t");
    let line = |n: &roxmltree::Node<'_, '_>| n.has_tag_name(("http://www.w3.org/2000/svg", "polyline"));
    parse(&page)
        .descendants()
        .filter(|n| line(n) && n.attribute("class").is_none())
        .count()
}

#[test]
fn keys_beyond_twelve_are_named_as_left_out() {
    let mut report = example::keyed_windows();
    let group = report.groups[0].clone();
    report.groups = (0..20)
        .map(|i| {
            let mut group = group.clone();
            group.rows = 1000 - i as u64;
            group.key = Some(Named::from_iter([("k".to_owned(), KeyValue::Integer(i))]));
            group
        })
        .collect();
    let page = page(&report, &[], "t");
    assert_eq!(page.matches("data-window-start").count(), LINES_MAX);
    assert!(
        page.contains("Left out: k = 12; k = 13; k = 14; k = 15; k = 16; k = 17; k = 18; k = 19."),
        "{page}"
    );
}

#[test]
fn nothing_from_the_data_becomes_markup() {
    let nasty = "<script>alert(1)</script>&\"'\u{1b}[31m\u{0}";
    let rename = |report: &mut Report| {
        for group in &mut report.groups {
            let columns = group.columns.values().iter().cloned();
            group.columns = columns.map(|column| (nasty.to_owned(), column)).collect();
            if group.key.is_some() {
                group.key = Some(Named::from_iter([(nasty.to_owned(), KeyValue::Text(nasty.into()))]));
            }
            for matrix in group.covariance.iter_mut().chain(&mut group.correlation) {
                matrix.columns[0] = nasty.into();
            }
            for name in group
                .regression
                .iter_mut()
                .flat_map(|r| r.terms.iter_mut().chain([&mut r.target]))
            {
                *name = nasty.into();
            }
        }
        report.device = nasty.into();
    };
    let sample = Sample {
        column: nasty.into(),
        values: vec![1.0, 2.0],
        every: 1,
        of: 2,
    };
    for mut report in [example::single(), example::keyed_windows()] {
        rename(&mut report);
        for samples in [&[][..], std::slice::from_ref(&sample)] {
            let page = page(&report, samples, nasty);
            assert!(!page.contains("<script") && !page.contains('\u{1b}') && !page.contains('\0'));
            assert!(parse(&page).descendants().all(|n| !n.has_tag_name("script")));
        }
    }
}

#[test]
fn a_page_with_every_section_is_self_contained() {
    let sample = Sample {
        column: "temp".into(),
        values: (0..50).map(|i| 11.0 + f64::from(i) / 20.0).collect(),
        every: 2,
        of: 100,
    };
    let page = page(&example::single(), &[sample], "a.csv");
    let document = parse(&page);
    let texts: String = document.descendants().filter_map(|n| n.text()).collect();
    for part in [
        "a.csv",
        "mean 12.5",
        "50 values: one in 2 of 100",
        "R² 0.75",
        "-0.25",
        "temp ~ wind + twice_wind",
        "98 complete rows",
        "box: mean",
    ] {
        assert!(texts.contains(part), "the page lacks {part:?}");
    }
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(
            !page.replace("http://www.w3.org/2000/svg", "").contains(outside),
            "{outside}"
        );
    }
    let titled = |n: roxmltree::Node<'_, '_>| {
        n.attribute("aria-label").is_some() && n.first_element_child().unwrap().tag_name().name() == "title"
    };
    assert!(
        document
            .descendants()
            .filter(|n| n.tag_name().name() == "svg")
            .all(titled)
    );
    let correlation = document
        .descendants()
        .find(|n| n.attribute("data-row") == Some("temp") && n.attribute("data-column") == Some("wind"));
    assert_eq!(correlation.unwrap().attribute("data-value"), Some("0.25"));
}

#[test]
fn empty_and_hopeless_reports_are_pages() {
    let mut report = example::keyed_windows();
    for group in &mut report.groups {
        let column = &mut group.columns.values_mut()[0];
        (column.mean, column.min, column.max) = (Some(f64::INFINITY), Some(f64::MIN), Some(f64::MAX));
    }
    parse(&page(&report, &[], "t"));
    report.groups.iter_mut().for_each(|g| g.window = None);
    parse(&page(&report, &[], "t"));
    report.groups.clear();
    parse(&page(&report, &[], "t"));
}
