//! The charts of the html page: inline SVG with a title, an accessible name, and the numbers they show.
//!
//! plotters lays out axes, lines and bars; what must carry data (the points of a line, the cells of a heat map) is
//! written beside it in the same coordinates. Colours are the page's: plotters draws in a few marker colours, and the
//! style sheet gives each its light and its dark value. Text from the data is escaped on its way in.

pub(crate) mod axis;
pub(crate) mod distribution;
pub(crate) mod heatmap;
pub(crate) mod windows;

use super::text::{clean, shorten, width as cells};
use axis::Scale;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::prelude::{Cartesian2d, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBAColor, RGBColor, ShapeStyle, TextStyle};
use std::fmt::Write as _;
use std::io;

/// Units of the drawing in one pixel of the page at full width: plotters has whole coordinates only, and a line drawn
/// in whole pixels is jagged.
pub(crate) const FINE: i32 = 10;

/// The marker colours: the style sheet selects on these values and sets the real ones.
pub(crate) const INK: RGBColor = RGBColor(0x33, 0x33, 0x3a);
/// See [`INK`].
pub(crate) const GRID: RGBColor = RGBColor(0xe2, 0xe2, 0xe6);
/// See [`INK`].
pub(crate) const BAR: RGBColor = RGBColor(0x5b, 0x8d, 0xc9);
/// See [`INK`].
pub(crate) const MARK: RGBColor = RGBColor(0xc2, 0x54, 0x0a);

/// Lines of keys in one chart, and colours that can be told apart.
pub(crate) const LINES_MAX: usize = 12;

/// Pixels of one character of a label.
const CHARACTER: i32 = 7;
/// Pixels right of a chart's own area: room for half of its last label.
const MARGIN_RIGHT: i32 = 16;

/// The size of a chart in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// A chart's coordinate system.
pub(crate) type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type Area<'b> = DrawingArea<SVGBackend<'b>, Shift>;

/// `text` for the content of an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// An SVG element of this size around `body`, which is in [`FINE`] units. It grows with the page, but not so far that
/// its text becomes large.
pub(crate) fn svg(size: Size, title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" style=\"max-width:{}px\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title>\n{body}</svg>\n",
        size.width * FINE,
        size.height * FINE,
        size.width * 23 / 20
    )
}

/// What is drawn, without the outer element that plotters writes.
pub(crate) fn draw(size: Size, paint: impl FnOnce(&Area<'_>) -> io::Result<()>) -> io::Result<String> {
    let mut document = String::new();
    {
        let fine = |pixels: i32| u32::try_from(pixels * FINE).unwrap_or(0);
        let area = SVGBackend::with_string(&mut document, (fine(size.width), fine(size.height))).into_drawing_area();
        paint(&area)?;
        area.present().map_err(failed)?;
    }
    let inner = document.find(">\n").zip(document.rfind("</svg>"));
    Ok(inner.map_or_else(String::new, |(open, close)| document[open + 2..close].to_owned()))
}

/// plotters' errors are those of the buffer it writes to.
pub(crate) fn failed<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> io::Error {
    io::Error::other(error.to_string())
}

/// Pixels left of a chart's own area: the labels of its vertical axis.
fn left_of(y: Option<&Scale>) -> i32 {
    (y.map_or(1, |y| y.label_width().max(3) + 2)) * CHARACTER + 8
}

/// Pixels from side to side that a chart of this size has for its own, beside the labels of its vertical axis.
pub(crate) fn inner_width(size: Size, y: Option<&Scale>) -> i32 {
    size.width - MARGIN_RIGHT - left_of(y)
}

/// Both axes with their labels, and horizontal grid lines.
pub(crate) fn axes<'a, 'b>(area: &'a Area<'b>, x: &Scale, y: Option<&Scale>, x_name: &str) -> io::Result<Plot<'a, 'b>> {
    let y_range = y.map_or(0.0..1.0, |y| y.range.clone());
    let mut plot = ChartBuilder::on(area)
        .margin_top(10 * FINE)
        .margin_right(MARGIN_RIGHT * FINE)
        .x_label_area_size(if x_name.is_empty() { 26 } else { 44 } * FINE)
        .y_label_area_size(left_of(y) * FINE)
        .build_cartesian_2d(x.range.clone(), y_range.clone())
        .map_err(failed)?;
    plot.configure_mesh()
        .disable_mesh()
        .disable_axes()
        .draw()
        .map_err(failed)?;
    let base = area.get_base_pixel();
    let place = |x, y| {
        let (x, y) = plot.backend_coord(&(x, y));
        (x - base.0, y - base.1)
    };
    let line = |from, to, color: &RGBColor| {
        let path = plotters::element::PathElement::new(vec![from, to], stroke(color, 1.0));
        area.draw(&path).map_err(failed)
    };
    let text = |label: &str, at, style: &TextStyle<'_>| area.draw_text(label, style, at).map_err(failed);
    let (low, high) = (place(x.range.start, y_range.start), place(x.range.end, y_range.end));
    for tick in y.map_or(&[][..], |y| &y.ticks) {
        let at = place(x.range.start, tick.at);
        line(at, (high.0, at.1), &GRID)?;
        text(
            &tick.label,
            (at.0 - 6 * FINE, at.1),
            &label_style(HPos::Right, VPos::Center),
        )?;
    }
    line(low, (high.0, low.1), &INK)?;
    for tick in &x.ticks {
        let at = place(tick.at, y_range.start);
        line(at, (at.0, at.1 + 4 * FINE), &INK)?;
        let right = i32::try_from(area.dim_in_pixel().0).unwrap_or(i32::MAX);
        let half = i32::try_from(cells(&tick.label)).unwrap_or(0) * CHARACTER * FINE / 2;
        // A label that would be cut at an edge ends or begins there.
        let (x, anchor) = if at.0 + half > right {
            (right, HPos::Right)
        } else if at.0 < half {
            (0, HPos::Left)
        } else {
            (at.0, HPos::Center)
        };
        text(&tick.label, (x, at.1 + 7 * FINE), &label_style(anchor, VPos::Top))?;
    }
    if !x_name.is_empty() {
        let middle = (low.0 + high.0) / 2;
        let room = usize::try_from((high.0 - low.0) / FINE / CHARACTER).unwrap_or(0);
        text(
            &shorten(&clean(x_name), room),
            (middle, low.1 + 26 * FINE),
            &label_style(HPos::Center, VPos::Top),
        )?;
    }
    Ok(plot)
}

/// The text of labels, 12 pixels high.
pub(crate) fn label_style(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    // plotters divides sizes by 1.24 for SVG.
    ("sans-serif", 12.0 * 1.24 * f64::from(FINE))
        .into_font()
        .color(&INK)
        .pos(Pos::new(horizontal, vertical))
}

/// A line of this width in pixels.
pub(crate) fn stroke(color: &RGBColor, width: f64) -> ShapeStyle {
    color.stroke_width((width * f64::from(FINE)) as u32)
}

/// A filled shape.
pub(crate) fn fill(color: RGBAColor) -> ShapeStyle {
    color.filled()
}

/// A circle at `at` with attributes whose values are escaped here, and a title that browsers show on hover.
pub(crate) fn circle(
    body: &mut String,
    at: (i32, i32),
    radius: f64,
    class: &str,
    attributes: &[(&str, &str)],
    title: &str,
) {
    let _ = write!(
        body,
        "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" class=\"{class}\"",
        at.0,
        at.1,
        radius * f64::from(FINE)
    );
    for (name, value) in attributes {
        let _ = write!(body, " {name}=\"{}\"", escape(value));
    }
    let _ = writeln!(body, "><title>{}</title></circle>", escape(title));
}
