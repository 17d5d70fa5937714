//! Where records end in text that comes in pieces.
//!
//! Each byte is looked at once or twice, however small the pieces are: what was found out about a record that is not
//! complete is kept until its rest comes. A record is too long if its first `limit` bytes and one more hold no end of
//! it; so whether it is does not depend on the pieces.

use crate::io::csv::split::next_opening;
use memchr::{memchr, memrchr};

/// What there is in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing but (perhaps) the beginning of a record behind the complete ones.
    Open,
    /// A record that is too long follows the complete ones.
    TooLong,
}

#[derive(Debug)]
pub(super) struct Cut {
    /// What separates the fields of csv, in which quotes hold line ends.
    delimiter: Option<u8>,
    limit: usize,
    /// Bytes of complete records.
    complete: usize,
    /// From here on nothing has been looked at.
    at: usize,
    /// A quote is open there.
    quoted: bool,
}

impl Cut {
    pub(super) fn new(delimiter: Option<u8>, limit: usize) -> Self {
        Self {
            delimiter,
            limit,
            complete: 0,
            at: 0,
            quoted: false,
        }
    }

    /// Bytes of complete records at the beginning of the text that was looked at last.
    pub(super) fn complete(&self) -> usize {
        self.complete
    }

    /// Looks at text that begins with a record and has grown since, until `most` bytes are complete.
    pub(super) fn find(&mut self, text: &[u8], most: usize) -> Found {
        while self.complete < most {
            let end = self.complete.saturating_add(self.limit).saturating_add(1);
            let window = &text[..end.min(text.len())];
            match self.last_end(window) {
                Some(last) => (self.complete, self.at, self.quoted) = (last, last, false),
                None if window.len() == end => return Found::TooLong,
                None => break,
            }
        }
        Found::Open
    }

    /// The last end of a record in what has not been looked at.
    fn last_end(&mut self, text: &[u8]) -> Option<usize> {
        let mut last = None;
        while self.at < text.len() {
            if self.quoted {
                let Some(quote) = memchr(b'"', &text[self.at..]).map(|n| self.at + n) else {
                    self.at = text.len();
                    break;
                };
                match text.get(quote + 1) {
                    // The byte behind it says whether the quote is closed.
                    None => {
                        self.at = quote;
                        break;
                    }
                    Some(b'"') => self.at = quote + 2,
                    Some(_) => (self.at, self.quoted) = (quote + 1, false),
                }
            } else {
                let quote = self
                    .delimiter
                    .and_then(|delimiter| next_opening(text, self.at, delimiter));
                let plain = &text[self.at..quote.unwrap_or(text.len())];
                last = memrchr(b'\n', plain).map(|n| self.at + n + 1).or(last);
                (self.at, self.quoted) = quote.map_or((text.len(), false), |quote| (quote + 1, true));
            }
        }
        last
    }

    /// The first `n` bytes of the text are gone.
    pub(super) fn consumed(&mut self, n: usize) {
        if n <= self.complete {
            self.complete -= n;
            self.at -= n;
        } else {
            (self.complete, self.at, self.quoted) = (0, 0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Where the records end, byte by byte.
    fn ends(text: &[u8], delimiter: Option<u8>) -> Vec<usize> {
        let (mut ends, mut quoted, mut field_start, mut i) = (Vec::new(), false, true, 0);
        while i < text.len() {
            let byte = text[i];
            if quoted {
                if byte == b'"' && text.get(i + 1) == Some(&b'"') {
                    i += 1;
                } else if byte == b'"' {
                    quoted = false;
                }
                field_start = false;
            } else if byte == b'\n' {
                ends.push(i + 1);
                field_start = true;
            } else if delimiter.is_some() && byte == b'"' && field_start {
                quoted = true;
                field_start = false;
            } else {
                field_start = Some(byte) == delimiter;
            }
            i += 1;
        }
        ends
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_ends(
            text in "[a,\"\n]{0,40}",
            sizes in proptest::collection::vec(1usize..6, 60),
            csv in any::<bool>(),
        ) {
            let delimiter = csv.then_some(b',');
            let text = text.into_bytes();
            let want = ends(&text, delimiter).last().copied().unwrap_or(0);
            let (mut cut, mut start, mut stop) = (Cut::new(delimiter, 1000), 0, 0);
            for size in sizes {
                stop = (stop + size).min(text.len());
                prop_assert_eq!(cut.find(&text[start..stop], usize::MAX), Found::Open);
                let complete = cut.complete();
                cut.consumed(complete);
                start += complete;
            }
            prop_assert_eq!(stop, text.len());
            prop_assert_eq!(start, want);
        }
    }

    #[test]
    fn a_record_is_too_long_wherever_it_is_cut() {
        let text = b"ab\n\"cd\nef\",g\nh\n";
        for (limit, complete, found) in [(9, 15, Found::Open), (8, 3, Found::TooLong), (1, 0, Found::TooLong)] {
            for first in 0..text.len() {
                let mut cut = Cut::new(Some(b','), limit);
                cut.find(&text[..first], usize::MAX);
                assert_eq!(cut.find(text, usize::MAX), found, "{limit} {first}");
                assert_eq!(cut.complete(), complete, "{limit} {first}");
            }
        }
    }
}
