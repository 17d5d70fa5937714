//! The byte form of summaries: versioned, checksummed, little-endian.
//!
//! A form begins with the magic `MSUM` and a version, ends with the CRC-32 (ISO-HDLC) of everything before it, and
//! holds nothing but numbers in a fixed order, so that any program can read it:
//!
//! | part | bytes |
//! |---|---|
//! | magic, version | `MSUM`, u16 |
//! | rows | u64 |
//! | columns | u32 n, then n moments: order u8, count, missing, +∞, −∞ u64; min, max f64; scale i32; sum hi, lo, m2, m3, m4 f64 |
//! | co-moments, regression | u8 kind (0 none, 1 f64, 2 double-double), then u32 d, rows u64, d present u8, d infinite u64, d scale i32, d sums, d(d+1)/2 products |
//! | differences | u32 n, then n moments, unordered u64, edges u8 (1: first and last as u8 has time, i64 ns, f64 value) |
//! | quantiles | u32 n, then n of u8 kind (0: u32 m, m f64; 1: buckets −, zero, buckets +, −∞, +∞ u64, range u8 + 2 f64) |
//! | loss | in version 2 alone: rows u64, loss f64, u32 n, then n gradient f64 |
//! | checksum | u32 |
//!
//! A summary has one form only: what a flag says is absent holds zeros, and version 2 is for summaries with a loss,
//! which the others do without. Reading checks every length against what is there before it allocates, and the counts
//! against one another (no part may count more than there are rows), so damaged bytes give an error and nothing worse.

use crate::error::{Error, Result};
use crate::summary::comoments::{Products, Real};
use crate::summary::dd::Dd;
use crate::summary::differences::{Differences, Edge};
use crate::summary::quantiles::{Buckets, EXACT_MAX, Quantiles, Sketch};
use crate::summary::{Loss, Moments, Order, RegressionMoments, Summary};

/// What every byte form begins with.
const MAGIC: &[u8; 4] = b"MSUM";
/// The version of summaries without a loss …
const VERSION: u16 = 1;
/// … and of those with one; no other is read.
const VERSION_WITH_LOSS: u16 = 2;
/// Bytes of magic, version and checksum.
const FRAME_BYTES: usize = 4 + 2 + 4;
/// No bucket lies farther from that of 1: the map reaches from the least subnormal to the greatest value, which is less
/// than 2^±1100, at 35 buckets an octave.
const BUCKET_MAX: i32 = 40_000;

impl Summary {
    /// The byte form.
    ///
    /// ```
    /// use millstream::Summary;
    /// let bytes = Summary::default().to_bytes();
    /// assert_eq!(Summary::from_bytes(&bytes)?, Summary::default());
    /// # Ok::<(), millstream::Error>(())
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(256));
        out.0.extend_from_slice(MAGIC);
        let version = self.loss.as_ref().map_or(VERSION, |_| VERSION_WITH_LOSS);
        out.0.extend_from_slice(&version.to_le_bytes());
        out.u64(self.rows);
        out.each(&self.columns, |out, m| out.moments(m));
        match &self.comoments {
            None => out.u8(0),
            Some(m) => out.products(1, m),
        }
        match &self.regression {
            None => out.u8(0),
            Some(RegressionMoments::Fast(m)) => out.products(1, m),
            Some(RegressionMoments::Exact(m)) => out.products(2, m),
        }
        out.each(&self.differences, Writer::differences);
        out.each(&self.quantiles, Writer::quantiles);
        if let Some(loss) = &self.loss {
            out.u64(loss.rows);
            out.f64(loss.loss);
            out.each(&loss.gradient, |out, x| out.f64(*x));
        }
        let checksum = crc32fast::hash(&out.0);
        out.u32(checksum);
        out.0
    }

    /// The summary behind a byte form.
    ///
    /// # Errors
    /// [`Error::Data`] for bytes of another kind or version, damaged or cut short, and for a content that no rows have:
    /// more values than rows, a least value above the greatest, parts over different numbers of columns.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let body = bytes
            .strip_prefix(MAGIC)
            .ok_or_else(|| damaged("they do not begin with MSUM"))?;
        if bytes.len() < FRAME_BYTES {
            return Err(damaged("they are cut short"));
        }
        let version = u16::from_le_bytes([body[0], body[1]]);
        if ![VERSION, VERSION_WITH_LOSS].contains(&version) {
            return Err(damaged(&format!(
                "they are of version {version}, this program reads versions {VERSION} and {VERSION_WITH_LOSS}"
            )));
        }
        let (content, checksum) = bytes.split_at(bytes.len() - 4);
        if crc32fast::hash(content).to_le_bytes() != checksum {
            return Err(damaged("the checksum does not match"));
        }
        let mut input = Reader(&content[FRAME_BYTES - 4..]);
        let summary = Self {
            rows: input.u64()?,
            columns: input.each(Reader::moments)?,
            comoments: match input.u8()? {
                0 => None,
                1 => Some(Box::new(input.products()?)),
                _ => return Err(damaged("co-moments of an unknown kind")),
            },
            regression: match input.u8()? {
                0 => None,
                1 => Some(RegressionMoments::Fast(Box::new(input.products()?))),
                2 => Some(RegressionMoments::Exact(Box::new(input.products()?))),
                _ => return Err(damaged("a regression of an unknown kind")),
            },
            differences: input.each(Reader::differences)?,
            quantiles: input.each(Reader::quantiles)?,
            loss: match version {
                VERSION_WITH_LOSS => Some(Box::new(Loss {
                    rows: input.u64()?,
                    loss: input.f64()?,
                    gradient: input.each(Reader::f64)?,
                })),
                _ => None,
            },
        };
        if !input.0.is_empty() {
            return Err(damaged("there is something behind the last part"));
        }
        summary.check().map_err(damaged)?;
        Ok(summary)
    }
}

fn damaged(why: &str) -> Error {
    Error::Data(format!("the bytes are no stored summary: {why}"))
}

/// A number that products are held in, as bytes.
trait Stored: Real {
    const BYTES: usize;
    fn write(self, out: &mut Writer);
    fn read(input: &mut Reader<'_>) -> Result<Self>;
}

impl Stored for f64 {
    const BYTES: usize = 8;
    fn write(self, out: &mut Writer) {
        out.f64(self);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self> {
        input.f64()
    }
}

impl Stored for Dd {
    const BYTES: usize = 16;
    fn write(self, out: &mut Writer) {
        out.f64(self.hi);
        out.f64(self.lo);
    }
    fn read(input: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            hi: input.f64()?,
            lo: input.f64()?,
        })
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, x: u8) {
        self.0.push(x);
    }
    fn u32(&mut self, x: u32) {
        self.0.extend_from_slice(&x.to_le_bytes());
    }
    fn u64(&mut self, x: u64) {
        self.0.extend_from_slice(&x.to_le_bytes());
    }
    fn f64(&mut self, x: f64) {
        self.0.extend_from_slice(&x.to_le_bytes());
    }

    fn each<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.u32(items.len() as u32);
        items.iter().for_each(|item| write(self, item));
    }

    fn moments(&mut self, m: &Moments) {
        self.u8(match m.order {
            Order::Second => 2,
            Order::Fourth => 4,
        });
        [m.count, m.missing, m.positive_infinite, m.negative_infinite]
            .into_iter()
            .for_each(|x| self.u64(x));
        self.f64(m.min);
        self.f64(m.max);
        self.u32(m.scale as u32);
        m.sum.write(self);
        [m.m2, m.m3, m.m4].into_iter().for_each(|x| self.f64(x));
    }

    fn products<R: Stored>(&mut self, kind: u8, m: &Products<R>) {
        self.u8(kind);
        self.u32(m.dimension() as u32);
        self.u64(m.rows);
        m.present.iter().for_each(|p| self.u8(u8::from(*p)));
        m.infinite.iter().for_each(|n| self.u64(*n));
        m.scale.iter().for_each(|s| self.u32(*s as u32));
        m.sums.iter().for_each(|s| s.write(self));
        m.products.iter().for_each(|p| p.write(self));
    }

    fn edge(&mut self, edge: &Edge) {
        self.u8(u8::from(edge.time_ns.is_some()));
        self.u64(edge.time_ns.unwrap_or(0) as u64);
        self.f64(edge.value);
    }

    fn differences(&mut self, d: &Differences) {
        self.moments(&d.moments);
        self.u64(d.unordered);
        self.u8(u8::from(d.edges.is_some()));
        if let Some((first, last)) = &d.edges {
            self.edge(first);
            self.edge(last);
        }
    }

    fn buckets(&mut self, b: &Buckets) {
        self.u32(b.first as u32);
        self.each(&b.counts, |out, n| out.u64(*n));
    }

    fn quantiles(&mut self, q: &Quantiles) {
        match q {
            Quantiles::Exact(values) => {
                self.u8(0);
                self.each(values, |out, x| out.f64(*x));
            }
            Quantiles::Sketch(s) => {
                self.u8(1);
                self.buckets(&s.negative);
                self.u64(s.zero);
                self.buckets(&s.positive);
                self.u64(s.negative_infinite);
                self.u64(s.positive_infinite);
                self.u8(u8::from(s.range.is_some()));
                let (low, high) = s.range.unwrap_or((0.0, 0.0));
                self.f64(low);
                self.f64(high);
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or_else(|| damaged("they are cut short"))?;
        self.0 = rest;
        Ok(*head)
    }
    fn u8(&mut self) -> Result<u8> {
        Ok(self.take::<1>()?[0])
    }
    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }
    fn f64(&mut self) -> Result<f64> {
        self.take().map(f64::from_le_bytes)
    }
    fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(damaged("a flag is neither 0 nor 1")),
        }
    }

    /// `n` items; their number is checked against the bytes there are, each taking at least one.
    fn items<T>(&mut self, n: usize, read: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        if n > self.0.len() {
            return Err(damaged("they are cut short"));
        }
        (0..n).map(|_| read(self)).collect()
    }

    fn each<T>(&mut self, read: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let n = self.u32()? as usize;
        self.items(n, read)
    }

    fn moments(&mut self) -> Result<Moments> {
        let order = match self.u8()? {
            2 => Order::Second,
            4 => Order::Fourth,
            _ => return Err(damaged("moments of an unknown order")),
        };
        Ok(Moments {
            order,
            count: self.u64()?,
            missing: self.u64()?,
            positive_infinite: self.u64()?,
            negative_infinite: self.u64()?,
            min: self.f64()?,
            max: self.f64()?,
            scale: match self.u32()? as i32 {
                scale @ -1100..=1100 => scale,
                _ => return Err(damaged("a scale is out of range")),
            },
            sum: Dd::read(self)?,
            m2: self.f64()?,
            m3: self.f64()?,
            m4: self.f64()?,
        })
    }

    fn products<R: Stored>(&mut self) -> Result<Products<R>> {
        let d = self.u32()? as usize;
        let rows = self.u64()?;
        let triangle = d
            .checked_mul(d + 1)
            .map(|n| n / 2)
            .ok_or_else(|| damaged("a matrix is too large"))?;
        if triangle.checked_mul(R::BYTES).is_none_or(|bytes| bytes > self.0.len()) {
            return Err(damaged("they are cut short"));
        }
        Ok(Products {
            rows,
            present: self.items(d, Self::flag)?,
            infinite: self.items(d, Self::u64)?,
            scale: self.items(d, |input| Ok(input.u32()? as i32))?,
            sums: self.items(d, Dd::read)?,
            products: self.items(triangle, R::read)?,
        })
    }

    fn edge(&mut self) -> Result<Edge> {
        let timed = self.flag()?;
        let time_ns = self.u64()? as i64;
        if !timed && time_ns != 0 {
            return Err(damaged("a time is absent and not 0"));
        }
        Ok(Edge {
            time_ns: timed.then_some(time_ns),
            value: self.f64()?,
        })
    }

    fn differences(&mut self) -> Result<Differences> {
        Ok(Differences {
            moments: self.moments()?,
            unordered: self.u64()?,
            edges: if self.flag()? {
                Some((self.edge()?, self.edge()?))
            } else {
                None
            },
        })
    }

    fn buckets(&mut self) -> Result<Buckets> {
        let first = self.u32()? as i32;
        let counts = self.each(Self::u64)?;
        let end = i64::from(first) + counts.len() as i64;
        if first < -BUCKET_MAX || end > i64::from(BUCKET_MAX) {
            return Err(damaged("a bucket is out of range"));
        }
        Ok(Buckets { first, counts })
    }

    fn quantiles(&mut self) -> Result<Quantiles> {
        Ok(match self.u8()? {
            0 => {
                let values = self.each(Self::f64)?;
                if values.len() > EXACT_MAX || values.iter().any(|x| x.is_nan()) {
                    return Err(damaged("an exact set of quantiles is not one"));
                }
                Quantiles::Exact(values)
            }
            1 => {
                let mut sketch = Sketch {
                    negative: self.buckets()?,
                    zero: self.u64()?,
                    positive: self.buckets()?,
                    negative_infinite: self.u64()?,
                    positive_infinite: self.u64()?,
                    range: None,
                };
                let has_range = self.flag()?;
                let range = (self.f64()?, self.f64()?);
                if has_range {
                    sketch.range = Some(range);
                } else if range.0.to_bits() | range.1.to_bits() != 0 {
                    return Err(damaged("a range is absent and not 0"));
                }
                Quantiles::Sketch(Box::new(sketch))
            }
            _ => return Err(damaged("quantiles of an unknown kind")),
        })
    }
}

#[cfg(test)]
mod tests;
