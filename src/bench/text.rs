//! The results as tables for people.

use super::result::{Bench, Crossover, Decision, Measurement, Place, Verified};
use crate::machine::device::{bytes, duration};
use crate::planner::Side;
use crate::report::text::{clean, width};

impl Bench {
    /// As a table for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (what, device) in [("CPU", &self.cpu), ("GPU", &self.gpu)] {
            if let Some(device) = device {
                text += &format!("{what}  {}\n", clean(device));
            }
        }
        if let Some(device) = &self.device {
            text += &format!(
                "     {} · {} · precision {}\n",
                device.api,
                clean(&device.driver),
                self.precision
            );
        }
        if let Some(f) = &self.figures {
            text += &format!(
                "     copy {}/s · upload {}/s · download {}/s · submit {} · round trip {}\n",
                bytes(f.copy_bytes_per_s),
                bytes(f.upload_bytes_per_s),
                bytes(f.download_bytes_per_s),
                duration(f.submit_seconds),
                duration(f.round_trip_seconds),
            );
        }
        text += "\n";
        let head =
            "summary|columns|rows|backend|median|least|greatest|GB/s|GFLOP/s|of bus or copy|speed-up|error|allowed|";
        let mut lines = vec![head.split('|').map(str::to_owned).collect()];
        lines.extend(self.measurements.iter().map(Measurement::line));
        text += &aligned(&lines, &[0, 3, 13]);
        if !self.decisions.is_empty() {
            text += "\nauto: the choice, what it was made by, and what the chosen took over the quicker one\n";
            let head = "summary|columns|rows|GPU's rows|choice|CPU|GPU|over best";
            let mut lines = vec![head.split('|').map(str::to_owned).collect()];
            lines.extend(self.decisions.iter().map(Decision::line));
            text += &aligned(&lines, &[0, 3, 4]);
        }
        if !self.crossovers.is_empty() {
            text += "\nThe GPU is quicker from so many rows on\n";
            let mut lines = vec![
                "summary|columns|GPU's rows|rows"
                    .split('|')
                    .map(str::to_owned)
                    .collect(),
            ];
            lines.extend(self.crossovers.iter().map(Crossover::line));
            text += &aligned(&lines, &[0, 2]);
        }
        text
    }
}

impl Measurement {
    fn line(&self) -> Vec<String> {
        let number = |x: Option<f64>, digits: usize| x.map_or(String::new(), |x| format!("{x:.digits$}"));
        let time = |x: Option<f64>| x.map_or(String::new(), duration);
        let share = self.of_bus.or(self.of_copy);
        let bound = |of: fn(&Verified) -> f64| self.verified.as_ref().map(|v| format!("{:.1e}", of(v)));
        let wrong = |v: &Verified| v.failure.as_deref().map(|why| format!("WRONG: {}", clean(why)));
        let remark = self.unavailable.as_deref().map(clean);
        vec![
            self.summary.name().into(),
            self.columns.to_string(),
            self.rows.to_string(),
            side(self.backend, self.place).into(),
            time(self.seconds),
            time(self.seconds_min),
            time(self.seconds_max),
            number(self.gb_per_s, 2),
            number(self.gflop_per_s, 2),
            share.map_or(String::new(), |x| format!("{:.0} %", x * 100.0)),
            number(self.speed_up, 2),
            bound(|v| v.error).unwrap_or_default(),
            bound(|v| v.tolerance).unwrap_or_default(),
            remark.or(self.verified.as_ref().and_then(wrong)).unwrap_or_default(),
        ]
    }
}

impl Decision {
    fn line(&self) -> Vec<String> {
        let time = |x: Option<f64>| x.map_or("unknown".into(), duration);
        let over = |x: f64| format!("{x:.2}{}", if self.within { "" } else { " !" });
        vec![
            self.summary.name().into(),
            self.columns.to_string(),
            self.rows.to_string(),
            place(self.place).into(),
            self.backend.name().into(),
            time(self.cpu_seconds),
            time(self.gpu_seconds),
            self.over_best.map_or(String::new(), over),
        ]
    }
}

impl Crossover {
    fn line(&self) -> Vec<String> {
        vec![
            self.summary.name().into(),
            self.columns.to_string(),
            place(self.place).into(),
            self.rows.map_or("never".into(), |rows| format!("{rows:.0}")),
        ]
    }
}

fn place(place: Place) -> &'static str {
    match place {
        Place::Host => "host",
        Place::Device => "device",
    }
}

fn side(side: Side, place: Place) -> &'static str {
    match (side, place) {
        (Side::Cpu, _) => "cpu",
        (Side::Gpu, Place::Host) => "gpu",
        (Side::Gpu, Place::Device) => "gpu, resident",
    }
}

/// Lines of cells under each other, the first of them underlined; the columns of these places begin at the left, the
/// others end at the right.
fn aligned(lines: &[Vec<String>], left: &[usize]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |c: usize| lines.iter().filter_map(|l| l.get(c)).map(|s| width(s)).max();
    let widths: Vec<usize> = (0..columns).map(|c| widest(c).unwrap_or(0)).collect();
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        let cell = |(c, cell): (usize, &String)| {
            let pad = " ".repeat(widths[c].saturating_sub(width(cell)));
            if left.contains(&c) {
                format!("{cell}{pad}")
            } else {
                format!("{pad}{cell}")
            }
        };
        let shown: Vec<String> = line.iter().enumerate().map(cell).collect();
        text += shown.join("  ").trim_end();
        text.push('\n');
        if i == 0 {
            let rule: Vec<String> = widths.iter().map(|w| "─".repeat(*w)).collect();
            text += rule.join("  ").trim_end();
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_under_each_other() {
        let line = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = aligned(&[line(["name", "side", "n"]), line(["a", "cpu", "1000"])], &[0, 1]);
        assert_eq!(text, "name  side     n\n────  ────  ────\na     cpu   1000\n");
    }
}
