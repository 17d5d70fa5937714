//! What the values of a column are drawn from: a mean that may drift and jump, and a spread around it.

use crate::error::{Error, Result};
use crate::units::duration_ns;

/// One column of a synthetic feed.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The mean at the start.
    pub mean: f64,
    /// The standard deviation around the mean.
    pub sd: f64,
    /// What the mean gains in a second of event time.
    pub drift: f64,
    /// Jumps of the mean: by how much, and when, in nanoseconds of event time after the start.
    pub steps: Vec<(f64, i64)>,
    /// The share of missing values.
    pub missing: f64,
}

impl Column {
    /// A column of this mean and standard deviation that stays where it is and lacks nothing.
    pub fn new(name: impl Into<String>, mean: f64, sd: f64) -> Self {
        Self {
            name: name.into(),
            mean,
            sd,
            drift: 0.0,
            steps: Vec::new(),
            missing: 0.0,
        }
    }

    /// A column as people write it: `NAME` or `NAME:mean=20,sd=2,drift=0.1,step=5@10s,missing=0.01`, where everything
    /// that is not said is as in `default`, and `step` may be repeated.
    ///
    /// ```
    /// use millstream::generate::Column;
    /// let column = Column::parse("t:mean=20,step=5@10s", &Column::new("", 0.0, 1.0))?;
    /// assert_eq!((column.mean, column.sd, column.steps), (20.0, 1.0, vec![(5.0, 10_000_000_000)]));
    /// # Ok::<(), millstream::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Usage`] for anything else.
    pub fn parse(text: &str, default: &Self) -> Result<Self> {
        let wrong = |why: String| Error::Usage(format!("--column `{text}`: {why}"));
        let (name, parameters) = text.split_once(':').unwrap_or((text, ""));
        let mut column = Self {
            name: name.trim().to_owned(),
            ..default.clone()
        };
        if column.name.is_empty() || column.name.contains(|c: char| c.is_control() || "\",".contains(c)) {
            return Err(wrong(
                "a name has at least one character, and no quote, comma or control character".into(),
            ));
        }
        for parameter in parameters.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (what, value) = parameter
                .split_once('=')
                .ok_or_else(|| wrong(format!("`{parameter}` is not NAME=VALUE")))?;
            let number = |text: &str| -> Result<f64> {
                let x = text.trim().parse().ok().filter(|x: &f64| x.is_finite());
                x.ok_or_else(|| wrong(format!("`{text}` is not a number")))
            };
            match what.trim() {
                "mean" => column.mean = number(value)?,
                "sd" => column.sd = number(value)?,
                "drift" => column.drift = number(value)?,
                "missing" => column.missing = number(value)?,
                "step" => {
                    let (size, at) = value
                        .split_once('@')
                        .ok_or_else(|| wrong(format!("`{value}` is not SIZE@TIME, such as 5@10s")))?;
                    let at = duration_ns(at).map_err(|e| wrong(e.to_string()))?;
                    column.steps.push((number(size)?, at));
                }
                other => {
                    return Err(wrong(format!(
                        "there is no `{other}`; there are mean, sd, drift, step and missing"
                    )));
                }
            }
        }
        column.steps.sort_by_key(|(_, at)| *at);
        Ok(column)
    }

    /// What the noise is around, this long after the start.
    pub(super) fn level(&self, elapsed_ns: i64) -> f64 {
        let steps: f64 = self
            .steps
            .iter()
            .take_while(|(_, at)| *at <= elapsed_ns)
            .map(|(size, _)| size)
            .sum();
        self.mean + self.drift * (elapsed_ns as f64 / 1e9) + steps
    }

    /// A bound on the magnitude of its values over this time: no value lies 6 sd from its level.
    pub(super) fn magnitude(&self, elapsed_ns: i64) -> f64 {
        let steps: f64 = self.steps.iter().map(|(size, _)| size.abs()).sum();
        self.mean.abs() + 6.0 * self.sd + self.drift.abs() * (elapsed_ns as f64 / 1e9) + steps
    }

    /// Whether the level is the same at all times.
    pub(super) fn is_level(&self) -> bool {
        self.drift == 0.0 && self.steps.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_read_as_written() {
        let default = Column::new("", 20.0, 2.0);
        let column = Column::parse("a b: sd=0.5 , drift=-1e-3,step=2@1m,step=-1@10s,missing=0.1", &default).unwrap();
        assert_eq!(column.name, "a b");
        assert_eq!(
            (column.mean, column.sd, column.drift, column.missing),
            (20.0, 0.5, -1e-3, 0.1)
        );
        assert_eq!(column.steps, [(-1.0, 10_000_000_000), (2.0, 60_000_000_000)]);
        assert_eq!(column.level(0), 20.0);
        assert_eq!(column.level(10_000_000_000), 20.0 - 0.01 - 1.0);
        assert_eq!(column.level(100_000_000_000), 20.0 - 0.1 + 1.0);
        assert_eq!(Column::parse("x", &default).unwrap(), Column::new("x", 20.0, 2.0));
        for text in [
            "",
            ":mean=1",
            "x:mean",
            "x:mean=nan",
            "x:width=1",
            "x:step=5",
            "x:step=5@10",
            "a\"b",
            "a\nb",
        ] {
            let error = Column::parse(text, &default).unwrap_err();
            assert!(
                error.exit_code() == 2 && error.to_string().contains("--column"),
                "{text}: {error}"
            );
        }
    }
}
