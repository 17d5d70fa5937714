//! Where JSON records end: at line ends, or at the commas between the elements of one top-level array.
//!
//! A line end cannot stand within a JSON string, so lines need no look inside. The elements of an array do: strings are
//! passed over, brackets counted.

use crate::io::chunks::{Cut, Cutter, Uncuttable};
use memchr::{memchr, memchr2, memrchr};

/// The place behind the last complete record.
pub(super) struct RecordCutter {
    array: bool,
    /// The array's closing bracket has been seen.
    closed: bool,
}

impl RecordCutter {
    pub(super) fn new(array: bool) -> Self {
        Self { array, closed: false }
    }
}

impl Cutter for RecordCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Result<Cut, Uncuttable> {
        if !self.array {
            let last = if at_end {
                bytes.len()
            } else {
                memrchr(b'\n', bytes).map_or(0, |n| n + 1)
            };
            return Ok(if last > 0 { Cut::At(last) } else { Cut::Nowhere });
        }
        let mut at = 0;
        while !self.closed {
            match element(bytes, at) {
                Element::Ends(end) => at = end + 1,
                Element::Last(end) => {
                    self.closed = true;
                    at = end + 1;
                }
                Element::Open if at > 0 => return Ok(Cut::At(at)),
                Element::Open if at_end => {
                    let reason = "the input is truncated: its top-level array is never closed".into();
                    return Err(Uncuttable {
                        offset: bytes.len().saturating_sub(1),
                        reason,
                    });
                }
                Element::Open => return Ok(Cut::Nowhere),
            }
        }
        // The chunk that holds the closing bracket ends with it; behind it may be nothing but blanks.
        if at > 0 {
            return Ok(Cut::At(at));
        }
        match bytes.iter().position(|b| !b.is_ascii_whitespace()) {
            Some(offset) => Err(Uncuttable {
                offset,
                reason: "something follows the end of the top-level array".into(),
            }),
            None if bytes.is_empty() => Ok(Cut::Nowhere),
            None => Ok(Cut::At(bytes.len())),
        }
    }
}

/// How the array element at a place ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// Before the comma at this place.
    Ends(usize),
    /// Before the closing bracket at this place.
    Last(usize),
    /// Not within these bytes.
    Open,
}

/// Finds the end of the array element at `at`.
pub(super) fn element(bytes: &[u8], mut at: usize) -> Element {
    let mut depth = 0usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match string_end(bytes, at + 1) {
                Some(end) => at = end,
                None => return Element::Open,
            },
            b'{' | b'[' => depth += 1,
            b']' if depth == 0 => return Element::Last(at),
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => return Element::Ends(at),
            _ => {}
        }
        at += 1;
    }
    Element::Open
}

/// The quote that closes the string whose content begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Calls `each` with every record (its place and bytes, blanks around it left aside, never empty) until it says stop.
pub(super) fn records<'a>(bytes: &'a [u8], array: bool, mut each: impl FnMut(usize, &'a [u8]) -> bool) {
    let mut at = 0;
    while at < bytes.len() {
        let end = if array {
            match element(bytes, at) {
                Element::Ends(end) | Element::Last(end) => end,
                Element::Open => bytes.len(),
            }
        } else {
            memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |n| at + n)
        };
        let record = bytes[at..end].trim_ascii_start();
        let place = end - record.len();
        let record = record.trim_ascii_end();
        if !record.is_empty() && !each(place, record) {
            return;
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_last_line_end() {
        let mut cutter = RecordCutter::new(false);
        assert_eq!(cutter.cut(b"{}\n{", false), Ok(Cut::At(3)));
        assert_eq!(cutter.cut(b"{}", false), Ok(Cut::Nowhere));
        assert_eq!(cutter.cut(b"{}", true), Ok(Cut::At(2)));
    }

    #[test]
    fn elements_are_cut_at_commas_outside_strings_and_brackets() {
        let mut cutter = RecordCutter::new(true);
        let text = br#"{"a":"],\"","b":[1,{}]} , {"c"#;
        assert_eq!(cutter.cut(text, false), Ok(Cut::At(25)));
        assert_eq!(cutter.cut(b"{\"a\": 1", false), Ok(Cut::Nowhere));
        assert_eq!(cutter.cut(b"{} ] \n", false), Ok(Cut::At(4)));
        assert_eq!(cutter.cut(b" \n", false), Ok(Cut::At(2)));
        assert_eq!(cutter.cut(b" x", true).unwrap_err().offset, 1);
    }

    #[test]
    fn an_array_that_is_not_closed_is_truncated() {
        assert!(
            RecordCutter::new(true)
                .cut(b"{\"a\"", true)
                .unwrap_err()
                .reason
                .contains("truncated")
        );
    }

    #[test]
    fn records_come_without_the_blanks_around_them() {
        let mut seen = Vec::new();
        records(b"  {} ,\n [\"a,b\"] ]", true, |place, record| {
            seen.push((place, record));
            true
        });
        assert_eq!(seen, [(2, &b"{}"[..]), (8, b"[\"a,b\"]")]);
    }
}
