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

/// `1 row`, `2 rows`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// `text` in lines of at most `cells` terminal cells, the lines behind the first indented. Lines end at ` · `, within
/// what stands between two of them only where that is too long for a line; a word that is longer still is shortened.
pub(crate) fn wrapped(text: &str, cells: usize) -> Vec<String> {
    let room = cells.saturating_sub(INDENT.len()).max(1);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut put = |gap: &str, unit: &str| {
        if line.trim().is_empty() {
            line.push_str(unit);
        } else if width(&line) + width(gap) + width(unit) <= cells {
            line.extend([gap, unit]);
        } else {
            lines.push(std::mem::replace(&mut line, format!("{INDENT}{unit}")));
        }
    };
    for part in text.split(PART) {
        if width(part) <= room {
            put(PART, part);
            continue;
        }
        // An operator goes with the word behind it.
        let mut operator = None;
        let mut gap = PART;
        for word in part.split(' ') {
            if ["~", "+", "-", "="].contains(&word) && operator.is_none() {
                operator = Some(word);
                continue;
            }
            let unit = match operator.take() {
                Some(sign) => format!("{sign} {}", shorten(word, room.saturating_sub(2).max(1))),
                None => shorten(word, room),
            };
            put(gap, &unit);
            gap = " ";
        }
        if let Some(sign) = operator {
            put(gap, sign);
        }
    }
    lines.push(line);
    lines
}

/// Before every line of a text but its first.
const INDENT: &str = "  ";
/// Between the parts of a line.
const PART: &str = " · ";

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
    fn wrapped_text_keeps_its_words() {
        assert_eq!(wrapped("one two", 7), ["one two"]);
        assert_eq!(wrapped("one two three", 7), ["one two", "  three"]);
        assert_eq!(wrapped("a temperature_outside b", 11), ["a temp…side", "  b"]);
        assert_eq!(wrapped("", 10), [""]);
        assert_eq!(
            wrapped("7 rows · 2 threads · 4.1 ms", 20),
            ["7 rows · 2 threads", "  4.1 ms"]
        );
        assert_eq!(
            wrapped("longer ~ name + other", 12),
            ["longer", "  ~ name", "  + other"]
        );
        let text = "y ~ a + b + c_long + d + e · 12 rows";
        for cells in 10..40 {
            let lines = wrapped(text, cells);
            assert!(lines.iter().all(|line| width(line) <= cells), "{lines:?}");
            let words = |text: &str| text.replace('·', "").split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(words(&lines.join(" ")), words(text));
        }
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "row")), ["0 rows", "1 row", "2 rows"]);
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
