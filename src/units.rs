//! Durations, sizes and lists as people write them: `10m`, `"1000 rows"`, `512MiB`, `a,"b, c"`.

use crate::error::{Error, Result};
use crate::spec::Window;

/// Units of time in nanoseconds.
const TIME_UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of size in bytes. A letter alone is a power of two, as for `sort -S`, `dd` and `ulimit`.
const SIZE_UNITS: [(&str, u64); 14] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
];

/// Nanoseconds of a duration such as `10m`, `1h30m`, `250ms` or `7d`; `w` is 7 days.
///
/// ```
/// assert_eq!(millstream::units::duration_ns("1m30s")?, 90_000_000_000);
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] for anything else, for 0 and for more than an `i64` holds.
pub fn duration_ns(text: &str) -> Result<i64> {
    let wrong = || {
        Error::Usage(format!(
            "`{text}` is not a duration such as 10s, 5m, 1h30m, 7d (units ns, us, ms, s, m, h, d, w)"
        ))
    };
    let mut rest = text.trim();
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "w" => 7 * 86_400_000_000_000,
            unit => TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        total = number
            .checked_mul(unit)
            .and_then(|ns| total.checked_add(ns))
            .ok_or_else(wrong)?;
        rest = rest[letters..].trim_start();
    }
    if total > 0 { Ok(total) } else { Err(wrong()) }
}

/// A duration as [`duration_ns`] reads it, in as few letters as can be: `1h30m`, `250ms`.
///
/// ```
/// assert_eq!(millstream::units::duration_text(90_000_000_000), "1m30s");
/// ```
pub fn duration_text(ns: i64) -> String {
    let mut text = String::new();
    let mut rest = ns;
    for (unit, length) in TIME_UNITS.iter().rev().filter(|(unit, _)| *unit != "µs") {
        let whole = rest / length;
        if whole > 0 {
            text.push_str(&format!("{whole}{unit}"));
            rest -= whole * length;
        }
    }
    match text.is_empty() {
        true => format!("{ns}ns"),
        false => text,
    }
}

/// A window from its size and slide: durations, or numbers of rows such as `1000 rows`.
///
/// # Errors
/// [`Error::Usage`] for anything else, and for a slide in another unit than the size.
pub fn window(size: &str, slide: Option<&str>) -> Result<Window> {
    let rows = |text: &str| -> Result<Option<i64>> {
        let Some(number) = text
            .trim()
            .strip_suffix("rows")
            .or_else(|| text.trim().strip_suffix("row"))
        else {
            return Ok(None);
        };
        let number = number.trim().replace('_', "");
        number
            .parse()
            .map(Some)
            .map_err(|_| Error::Usage(format!("`{text}` is not a number of rows such as 1000 rows")))
    };
    let window = match (rows(size)?, slide.map(rows).transpose()?) {
        (Some(size), None) => Window::Rows { size, slide: size },
        (Some(size), Some(Some(slide))) => Window::Rows { size, slide },
        (None, Some(Some(_))) | (Some(_), Some(None)) => {
            return Err(Error::Usage(
                "the window and its slide are both times or both rows".into(),
            ));
        }
        (None, _) => {
            let size_ns = duration_ns(size)?;
            Window::Time {
                size_ns,
                slide_ns: slide.map_or(Ok(size_ns), duration_ns)?,
            }
        }
    };
    window.checked()
}

/// Bytes of a size such as `512MiB`, `512M` (the same), `2GB` (2·10⁹) or `1048576`.
///
/// ```
/// assert_eq!(millstream::units::size_bytes("64K")?, 65_536);
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] for anything else.
pub fn size_bytes(text: &str) -> Result<u64> {
    let wrong = || {
        Error::Usage(format!(
            "`{text}` is not a size such as 512MiB, 2G, 500KB or 1048576 (units B, KB, MB, GB, TB; KiB or K, MiB or M, \
             GiB or G, TiB or T)"
        ))
    };
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = text[digits..].trim().to_ascii_uppercase();
    let factor = SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Names separated by commas; a name with blanks or commas stands in SQL double quotes (a quote inside is doubled).
///
/// ```
/// assert_eq!(millstream::units::names("a,\"b, \"\"c\"\"\"")?, ["a", "b, \"c\""]);
/// # Ok::<(), millstream::Error>(())
/// ```
///
/// # Errors
/// [`Error::Usage`] for an empty name or a quote without end.
pub fn names(text: &str) -> Result<Vec<String>> {
    let wrong = |why: &str| Error::Usage(format!("the list of columns `{text}` {why}"));
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let mut name = String::new();
        if let Some(mut quoted) = rest.strip_prefix('"') {
            loop {
                let end = quoted.find('"').ok_or_else(|| wrong("has a quote without end"))?;
                name.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                match quoted.strip_prefix('"') {
                    Some(more) => {
                        name.push('"');
                        quoted = more;
                    }
                    None => break,
                }
            }
            rest = quoted.trim_start();
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            name.push_str(rest[..end].trim_end());
            rest = &rest[end..];
        }
        if name.is_empty() {
            return Err(wrong("has an empty name"));
        }
        names.push(name);
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.is_empty() => return Ok(names),
            None => return Err(wrong("has something behind a quoted name")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ns) in [
            ("10m", 600_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1w", 604_800_000_000_000),
            ("5 us", 5_000),
        ] {
            assert_eq!(duration_ns(text).unwrap(), ns, "{text}");
        }
        for text in ["", "10", "m", "0s", "-1s", "1x", "99999999999d", "1.5h", "1m30"] {
            assert!(duration_ns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn windows() {
        assert_eq!(
            window("10m", Some("1m")).unwrap(),
            Window::Time {
                size_ns: 600_000_000_000,
                slide_ns: 60_000_000_000
            }
        );
        assert_eq!(
            window("1000 rows", None).unwrap(),
            Window::Rows {
                size: 1000,
                slide: 1000
            }
        );
        for (size, slide) in [
            ("10m", Some("5 rows")),
            ("5 rows", Some("1s")),
            ("1m", Some("2m")),
            ("x rows", None),
            ("0 rows", None),
        ] {
            assert!(window(size, slide).is_err(), "{size} {slide:?}");
        }
    }

    #[test]
    fn sizes_and_names() {
        assert_eq!(size_bytes("512MiB").unwrap(), 512 << 20);
        assert_eq!(size_bytes("2 gb").unwrap(), 2_000_000_000);
        for (text, bytes) in [
            ("7", 7),
            ("7B", 7),
            ("7k", 7 << 10),
            ("7M", 7 << 20),
            ("7 G", 7 << 30),
            ("7T", 7 << 40),
        ] {
            assert_eq!(size_bytes(text).unwrap(), bytes, "{text}");
        }
        for (short, long) in [
            ("1K", "1KiB"),
            ("1M", "1MiB"),
            ("1G", "1GiB"),
            ("1T", "1TiB"),
            ("1000GB", "1TB"),
        ] {
            assert_eq!(size_bytes(short).unwrap(), size_bytes(long).unwrap());
        }
        assert!(size_bytes("MiB").is_err() && size_bytes("1.5GB").is_err() && size_bytes("99999999999TiB").is_err());
        assert_eq!(names(" a , b c,\"d,e\"").unwrap(), ["a", "b c", "d,e"]);
        for text in ["", "a,", "\"a", "\"a\"b", ",a"] {
            assert!(names(text).is_err(), "{text}");
        }
    }
}
