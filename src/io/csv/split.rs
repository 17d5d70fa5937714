//! Where records and fields end (RFC 4180).
//!
//! A quote opens only at the start of a field; within quotes, delimiters and line ends are data and two quotes stand
//! for one; what follows the closing quote up to the delimiter is taken as it is. Lines end with LF or CRLF. As all the
//! other bytes mean nothing, the splitter jumps from quote to quote: text without a quote is cut at its last line end.

use crate::io::chunks::{Cut, Cutter, RECORD_BYTES_MAX, Uncuttable};
use memchr::{memchr, memchr2, memrchr};
use std::borrow::Cow;

/// The place behind the last complete record.
pub(super) struct CsvCutter {
    pub(super) delimiter: u8,
}

impl Cutter for CsvCutter {
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Result<Cut, Uncuttable> {
        let (mut last, mut open, mut from) = (0, None, 0);
        loop {
            let quote = next_opening(bytes, from, self.delimiter);
            let plain_end = quote.unwrap_or(bytes.len());
            if let Some(newline) = memrchr(b'\n', &bytes[from..plain_end]) {
                last = from + newline + 1;
            }
            let Some(quote) = quote else { break };
            match closing(bytes, quote) {
                Some(end) => from = end + 1,
                None => {
                    open = Some(quote);
                    break;
                }
            }
        }
        match open {
            None if at_end => Ok(if bytes.is_empty() {
                Cut::Nowhere
            } else {
                Cut::At(bytes.len())
            }),
            _ if last > 0 => Ok(Cut::At(last)),
            Some(offset) if at_end => Err(Uncuttable {
                offset,
                reason: "a quote is opened here and never closed".into(),
            }),
            Some(offset) if bytes.len() > RECORD_BYTES_MAX => {
                let reason = format!("a quote is opened here and not closed within {RECORD_BYTES_MAX} bytes");
                Err(Uncuttable { offset, reason })
            }
            _ => Ok(Cut::Nowhere),
        }
    }
}

/// The next quote that opens a field, from a place outside quotes on.
pub(crate) fn next_opening(bytes: &[u8], mut from: usize, delimiter: u8) -> Option<usize> {
    loop {
        let quote = from + memchr(b'"', &bytes[from..])?;
        if quote == 0 || bytes[quote - 1] == delimiter || bytes[quote - 1] == b'\n' {
            return Some(quote);
        }
        from = quote + 1;
    }
}

/// The quote that closes the one at `open`.
fn closing(bytes: &[u8], open: usize) -> Option<usize> {
    let mut from = open + 1;
    loop {
        let quote = from + memchr(b'"', bytes.get(from..)?)?;
        if bytes.get(quote + 1) != Some(&b'"') {
            return Some(quote);
        }
        from = quote + 2;
    }
}

/// The delimiter or line end (LF, or the CR of CRLF) that ends the field at `start`; the length of `bytes` without one.
#[inline]
pub(super) fn field_end(bytes: &[u8], start: usize, delimiter: u8) -> usize {
    let from = if bytes.get(start) == Some(&b'"') {
        closing(bytes, start).map_or(bytes.len(), |quote| quote + 1)
    } else {
        start
    };
    let rest = &bytes[from..];
    let end = near(rest, delimiter)
        .or_else(|| memchr2(delimiter, b'\n', rest))
        .map_or(bytes.len(), |n| from + n);
    let crlf = end > from && bytes[end - 1] == b'\r' && bytes.get(end).is_none_or(|b| *b == b'\n');
    end - usize::from(crlf)
}

/// The first delimiter or LF among the next 16 bytes: most fields are shorter than what a vectorised search takes to
/// begin.
#[inline]
fn near(bytes: &[u8], delimiter: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The top bit of the lowest zero byte (Mycroft); a borrow makes errors only above it.
    let zeros = |v: u64| v.wrapping_sub(ONES) & !v & (ONES << 7);
    for (word, eight) in bytes.as_chunks::<8>().0.iter().take(2).enumerate() {
        let eight = u64::from_le_bytes(*eight);
        let found = zeros(eight ^ (ONES * u64::from(delimiter))) | zeros(eight ^ (ONES * u64::from(b'\n')));
        if found != 0 {
            return Some(word * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    None
}

/// The place behind the line end at `end`, or nothing where there is none.
#[inline]
pub(super) fn next_record(bytes: &[u8], end: usize) -> Option<usize> {
    match bytes.get(end) {
        Some(b'\n') => Some(end + 1),
        Some(b'\r') if bytes.get(end + 1) == Some(&b'\n') => Some(end + 2),
        Some(b'\r') if end + 1 == bytes.len() => Some(end + 1),
        None => Some(end),
        Some(_) => None,
    }
}

/// The fields of the record at `start` as they stand there, and the place behind the record.
pub(crate) fn record<'a>(bytes: &'a [u8], start: usize, delimiter: u8, fields: &mut Vec<&'a [u8]>) -> usize {
    fields.clear();
    let mut at = start;
    loop {
        let end = field_end(bytes, at, delimiter);
        fields.push(&bytes[at..end]);
        match next_record(bytes, end) {
            Some(next) => return next,
            None => at = end + 1,
        }
    }
}

/// The place behind blank lines.
pub(crate) fn skip_blank_lines(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b'\n' | b'\r') = bytes.get(at)
        && let Some(next) = next_record(bytes, at)
    {
        at = next;
    }
    at
}

/// What a field says once its quotes are taken off.
pub(super) fn unquote(field: &[u8]) -> Cow<'_, [u8]> {
    if field.first() != Some(&b'"') {
        return Cow::Borrowed(field);
    }
    let Some(close) = closing(field, 0) else {
        return Cow::Borrowed(&field[1..]);
    };
    let inner = &field[1..close];
    if close + 1 == field.len() && memchr(b'"', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut text = Vec::with_capacity(field.len());
    let mut rest = inner;
    while let Some(quote) = memchr(b'"', rest) {
        text.extend_from_slice(&rest[..=quote]);
        rest = &rest[quote + 2..];
    }
    text.extend_from_slice(rest);
    text.extend_from_slice(&field[close + 1..]);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 4180 byte by byte: the records and, of the last one, whether it has ended.
    fn reference(bytes: &[u8], delimiter: u8) -> (Vec<Vec<Vec<u8>>>, usize, bool) {
        #[derive(PartialEq, Clone, Copy)]
        enum State {
            Start,
            Plain,
            Quoted,
            QuoteInQuoted,
        }
        let (mut records, mut fields, mut field) = (Vec::new(), Vec::new(), Vec::new());
        let (mut state, mut last) = (State::Start, 0);
        for (i, &b) in bytes.iter().enumerate() {
            if state == State::Quoted {
                if b == b'"' {
                    state = State::QuoteInQuoted;
                } else {
                    field.push(b);
                }
            } else if state == State::QuoteInQuoted && b == b'"' {
                field.push(b);
                state = State::Quoted;
            } else if b == b'"' && state == State::Start {
                state = State::Quoted;
            } else if b == delimiter {
                fields.push(std::mem::take(&mut field));
                state = State::Start;
            } else if b == b'\n' {
                // The CR of a CRLF was taken for data; it is data only within quotes.
                if bytes[..i].ends_with(b"\r") && field.last() == Some(&b'\r') {
                    field.pop();
                }
                fields.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut fields));
                state = State::Start;
                last = i + 1;
            } else {
                field.push(b);
                state = State::Plain;
            }
        }
        (records, last, state == State::Quoted)
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(
            prop_oneof![
                Just(b'"'),
                Just(b','),
                Just(b'\n'),
                Just(b'\r'),
                Just(b'a'),
                any::<u8>()
            ],
            0..60,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6000))]
        #[test]
        fn records_and_fields_are_those_of_the_reference(bytes in text()) {
            let (expected, last, _) = reference(&bytes, b',');
            let (mut at, mut fields, mut records) = (0, Vec::new(), Vec::new());
            while at < last {
                at = record(&bytes, at, b',', &mut fields);
                records.push(fields.iter().map(|f| unquote(f).into_owned()).collect::<Vec<_>>());
            }
            prop_assert_eq!(at, last);
            prop_assert_eq!(records, expected);
        }

        #[test]
        fn cuts_are_those_of_the_reference(bytes in text()) {
            let (_, last, quoted) = reference(&bytes, b',');
            let mut cutter = CsvCutter { delimiter: b',' };
            let expected = if last > 0 { Cut::At(last) } else { Cut::Nowhere };
            prop_assert_eq!(cutter.cut(&bytes, false), Ok(expected));
            let at_end = cutter.cut(&bytes, true);
            if !quoted {
                prop_assert_eq!(at_end, Ok(if bytes.is_empty() { Cut::Nowhere } else { Cut::At(bytes.len()) }));
            } else if last > 0 {
                prop_assert_eq!(at_end, Ok(Cut::At(last)));
            } else {
                prop_assert!(at_end.is_err());
            }
        }
    }

    #[test]
    fn blank_lines_are_passed_over_but_not_a_lone_carriage_return() {
        assert_eq!(skip_blank_lines(b"\n\r\n\n1", 0), 4);
        assert_eq!(skip_blank_lines(b"\r1", 0), 0);
    }
}
