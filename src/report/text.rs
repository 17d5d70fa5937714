//! Text from the data (names, keys) made fit to be shown.
//!
//! What an input holds may not steer a terminal or the reader's eye: control characters, and the invisible characters
//! that reorder or hide text, are shown as escapes. Widths are those of terminal cells, so that names in any script
//! stay in line.

use unicode_width::UnicodeWidthStr;

/// `text` with control characters, and characters that hide or reorder what stands beside them, as visible escapes.
///
/// ```
/// use millstream::report::text::clean;
/// assert_eq!(clean("red\x1b[31m"), "red\\u{1b}[31m");
/// assert_eq!(clean("naïve 温度"), "naïve 温度");
/// ```
pub fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || deceives(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Bidirectional overrides, zero-width characters, line and paragraph separators, the byte-order mark, and the
/// noncharacters that XML forbids.
fn deceives(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// How many terminal cells `text` takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `cells` terminal cells, its middle replaced by `…` where it is longer: names that differ tend to
/// differ at either end.
pub(crate) fn shorten(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let room = cells.saturating_sub(1);
    let head = take(text.chars(), room - room / 2);
    let tail: String = take(text.chars().rev(), room / 2).chars().rev().collect();
    format!("{head}…{tail}")
}

fn take(chars: impl Iterator<Item = char>, cells: usize) -> String {
    let mut taken = String::new();
    for c in chars {
        taken.push(c);
        if width(&taken) > cells {
            taken.pop();
            break;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_or_hides_text_passes() {
        for (text, shown) in [
            ("\x1b]0;title\x07", r"\u{1b}]0;title\u{7}"),
            ("a\nb\tc\r", r"a\nb\tc\r"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("abc\u{202e}def", r"abc\u{202e}def"),
            ("x\u{200b}y", r"x\u{200b}y"),
            ("\u{0}", r"\u{0}"),
            ("plain 'name' <b>", "plain 'name' <b>"),
        ] {
            assert_eq!(clean(text), shown);
        }
    }

    #[test]
    fn shortened_text_keeps_both_ends_and_fits() {
        assert_eq!(shorten("temperature", 11), "temperature");
        assert_eq!(shorten("temperature_outside", 11), "tempe…tside");
        assert_eq!(shorten("温度温度温度", 8), "温度…度");
        assert_eq!(shorten("abc", 1), "…");
        for cells in 1..12 {
            assert!(width(&shorten("温度a温度b温度c", cells)) <= cells);
        }
    }
}
