//! Numbers as text, exactly: a value on the grid prints with as few decimals as it has.
//!
//! Text that is exact reads back as the same `f64`. The decimals of a value are looked up by its fraction, in a table of
//! all of them, so that a number costs a few nanoseconds.

use super::rows::{Grid, ROUNDER};

/// Bytes that a number takes at most: a sign, 16 digits, a point and 12 decimals, and room for whole copies of
/// [`DECIMALS_BYTES`].
pub(super) const NUMBER_BYTES_MAX: usize = 40;

/// Bytes of an entry of the table, point included.
const DECIMALS_BYTES: usize = 16;

/// Decimals are looked up while there are at most so many fractions: a table of 160 KB.
const TABLE_MAX: u64 = 10_000;

/// Writes numbers of one grid.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    grid: Grid,
    /// Values times this are whole numbers.
    scale: u64,
    /// For each fraction the point and the decimals, and how many bytes of them count. Empty where there would be too
    /// many.
    table: Vec<([u8; DECIMALS_BYTES], u8)>,
}

impl Numbers {
    pub(super) fn new(grid: Grid) -> Self {
        let scale = match grid {
            Grid::Fraction(bits) => 1u64 << bits,
            Grid::Decimals(digits) => 10u64.pow(digits),
        };
        let mut numbers = Self {
            grid,
            scale,
            table: Vec::new(),
        };
        if scale <= TABLE_MAX {
            numbers.table = (0..scale).map(|fraction| numbers.decimals(fraction)).collect();
        }
        numbers
    }

    /// The point and the decimals of `fraction / scale`, without zeros at the end.
    fn decimals(&self, fraction: u64) -> ([u8; DECIMALS_BYTES], u8) {
        let mut text = [0; DECIMALS_BYTES];
        if fraction == 0 {
            return (text, 0);
        }
        text[0] = b'.';
        let (mut rest, mut length) = (fraction, 1);
        while rest > 0 {
            rest *= 10;
            text[length] = b'0' + (rest / self.scale) as u8;
            rest %= self.scale;
            length += 1;
        }
        (text, length as u8)
    }

    /// Writes `value`, a multiple of the grid, at `at`; the place behind it comes back. There must be room for
    /// [`NUMBER_BYTES_MAX`] bytes.
    #[inline]
    pub(super) fn put(&self, out: &mut [u8], mut at: usize, value: f64) -> usize {
        // Whole already for binary fractions; for decimals the nearest whole number is meant.
        let scaled = ((value * self.scale as f64 + ROUNDER) - ROUNDER) as i64;
        out[at] = b'-';
        at += usize::from(scaled < 0);
        let scaled = scaled.unsigned_abs();
        let (whole, fraction) = match self.grid {
            Grid::Fraction(bits) => (scaled >> bits, scaled & (self.scale - 1)),
            Grid::Decimals(_) => (scaled / self.scale, scaled % self.scale),
        };
        at = put_whole(out, at, whole);
        let computed;
        let (decimals, length) = match self.table.get(fraction as usize) {
            Some(entry) => entry,
            None => {
                computed = self.decimals(fraction);
                &computed
            }
        };
        out[at..at + DECIMALS_BYTES].copy_from_slice(decimals);
        at + usize::from(*length)
    }
}

/// Writes a whole number at `at`; the place behind it comes back.
#[inline]
pub(super) fn put_whole(out: &mut [u8], at: usize, mut number: u64) -> usize {
    if number < 10 {
        out[at] = b'0' + number as u8;
        return at + 1;
    }
    if number < 100 {
        let two = PAIRS[number as usize];
        out[at..at + 2].copy_from_slice(&two);
        return at + 2;
    }
    // From the end, two digits at a time.
    let mut text = [0u8; 20];
    let mut from = text.len();
    while number >= 100 {
        from -= 2;
        text[from..from + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number >= 10 {
        from -= 2;
        text[from..from + 2].copy_from_slice(&PAIRS[number as usize]);
    } else {
        from -= 1;
        text[from] = b'0' + number as u8;
    }
    let length = text.len() - from;
    out[at..at + length].copy_from_slice(&text[from..]);
    at + length
}

/// The same for a number that may be negative.
#[inline]
pub(super) fn put_signed(out: &mut [u8], at: usize, number: i64) -> usize {
    out[at] = b'-';
    put_whole(out, at + usize::from(number < 0), number.unsigned_abs())
}

/// 00 … 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut i = 0;
    while i < 100 {
        pairs[i] = [b'0' + (i / 10) as u8, b'0' + (i % 10) as u8];
        i += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use super::*;

    fn text(grid: Grid, value: f64) -> String {
        let mut out = [b'x'; NUMBER_BYTES_MAX];
        let end = Numbers::new(grid).put(&mut out, 0, value);
        String::from_utf8(out[..end].to_vec()).unwrap()
    }

    #[test]
    fn numbers_print_exactly_and_without_needless_zeros() {
        for (grid, value, want) in [
            (Grid::Fraction(10), 0.0, "0"),
            (Grid::Fraction(10), -0.5, "-0.5"),
            (Grid::Fraction(10), 20.000_976_562_5, "20.0009765625"),
            (Grid::Fraction(12), -1.0 / 4096.0, "-0.000244140625"),
            (Grid::Fraction(0), 123_456_789.0, "123456789"),
            (Grid::Fraction(1), 562_949_953_421_311.5, "562949953421311.5"),
            (Grid::Decimals(3), 19.1, "19.1"),
            (Grid::Decimals(3), -0.001, "-0.001"),
            (Grid::Decimals(9), 100.000_000_007, "100.000000007"),
            (Grid::Decimals(0), 7.0, "7"),
        ] {
            assert_eq!(text(grid, value), want);
        }
    }

    #[test]
    fn numbers_read_back_as_they_were() {
        for grid in [
            Grid::Fraction(3),
            Grid::Fraction(10),
            Grid::Decimals(3),
            Grid::Decimals(7),
        ] {
            let numbers = Numbers::new(grid);
            let mut out = [0; NUMBER_BYTES_MAX];
            for k in (-3_000_000_000i64..3_000_000_000).step_by(1_234_577) {
                let value = k as f64 / numbers.scale as f64;
                let end = numbers.put(&mut out, 0, value);
                let read: f64 = std::str::from_utf8(&out[..end]).unwrap().parse().unwrap();
                assert_eq!(read, value, "{grid:?}");
            }
        }
    }

    #[test]
    fn whole_numbers_of_every_length() {
        let mut number = 1u64;
        for _ in 0..19 {
            for n in [number - 1, number, number + 1, number * 7] {
                let mut out = [0; 21];
                let end = put_whole(&mut out, 0, n);
                assert_eq!(std::str::from_utf8(&out[..end]).unwrap(), n.to_string());
            }
            number = number.wrapping_mul(10);
        }
        let mut out = [0; 21];
        let end = put_signed(&mut out, 0, i64::MIN);
        assert_eq!(std::str::from_utf8(&out[..end]).unwrap(), i64::MIN.to_string());
    }
}
