//! Curves as a picture: nanoseconds a value over rows or columns, both axes logarithmic.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;

/// One task on so many threads.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) threads: usize,
    /// Rows or columns, and nanoseconds a value.
    pub(crate) points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (900, 480);

/// One for each task; a curve of two threads is drawn thicker.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x1a, 0x7f, 0x5a),
    RGBColor(0x09, 0x69, 0xda),
    RGBColor(0xc4, 0x50, 0x1b),
    RGBColor(0x82, 0x50, 0xdf),
    RGBColor(0x6e, 0x77, 0x81),
];

/// A whole number as people say it: 10k, 100M.
fn short(x: f64) -> String {
    match x {
        1e6.. => format!("{}M", x / 1e6),
        1e3.. => format!("{}k", x / 1e3),
        _ => format!("{x}"),
    }
}

/// Writes NAME.svg; the names of the curves stand where none of them goes.
pub(crate) fn write(
    folder: &Path,
    name: &str,
    legend: SeriesLabelPosition,
    curves: &[Curve],
) -> Result<(), Box<dyn Error>> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let wider = |(low, high): (f64, f64), x: f64| (low.min(x), high.max(x));
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), wider)
    };
    let ((x0, x1), (y0, y1)) = (bounds(|point| point.0), bounds(|point| point.1));
    let path = folder.join(name).with_extension("svg");
    let area = SVGBackend::new(&path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .margin_right(32)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((x0..x1).log_scale(), (y0 / 1.5..y1 * 1.5).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(name)
        .y_desc("ns a value")
        .x_label_formatter(&|x| short(*x))
        .draw()?;
    for (k, curve) in curves.iter().enumerate().filter(|(_, curve)| !curve.points.is_empty()) {
        let colour = COLOURS[k / 2 % COLOURS.len()];
        let width = curve.threads as u32;
        let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(width));
        let label = format!("{}, {} thread{}", curve.name, width, if width == 1 { "" } else { "s" });
        chart
            .draw_series(line)?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
