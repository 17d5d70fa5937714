//! Record batches as csv (RFC 4180, lines ended by a line feed).
//!
//! The rule: every number reads back as the same `f64`, and every text as the same text; null is an empty cell and
//! empty text is `""`, as is null where it would stand alone on its line, because readers pass over empty lines.

use crate::report::{non_finite, rfc3339};
use arrow::array::{
    Array, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int64Type, Schema, TimeUnit, TimestampNanosecondType, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::io::{Result, Write};

/// Writes csv.
#[derive(Debug)]
pub(in crate::io) struct CsvWriter<W> {
    inner: W,
    line: Vec<u8>,
}

impl<W: Write> CsvWriter<W> {
    /// Begins with the header line.
    pub(in crate::io) fn new(inner: W, schema: &Schema) -> Result<Self> {
        let mut writer = Self {
            inner,
            line: Vec::new(),
        };
        for (i, field) in schema.fields().iter().enumerate() {
            writer.separate(i);
            text(&mut writer.line, field.name());
        }
        writer.end_line()?;
        Ok(writer)
    }

    pub(in crate::io) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let arrays: Vec<_> = batch.columns().iter().map(|c| plain(c)).collect::<Result<_>>()?;
        let columns: Vec<_> = arrays.iter().map(|a| Column::new(a)).collect::<Result<_>>()?;
        for row in 0..batch.num_rows() {
            for (i, (array, column)) in arrays.iter().zip(&columns).enumerate() {
                self.separate(i);
                if array.is_valid(row) {
                    column.cell(row, &mut self.line)?;
                } else if columns.len() == 1 {
                    self.line.extend_from_slice(b"\"\"");
                }
            }
            self.end_line()?;
        }
        Ok(())
    }

    pub(in crate::io) fn into_inner(self) -> W {
        self.inner
    }

    pub(in crate::io) fn inner_mut(&mut self) -> &mut W {
        &mut self.inner
    }

    fn separate(&mut self, column: usize) {
        if column > 0 {
            self.line.push(b',');
        }
    }

    fn end_line(&mut self) -> Result<()> {
        self.line.push(b'\n');
        self.inner.write_all(&self.line)?;
        self.line.clear();
        Ok(())
    }
}

/// The column as one of the few types that cells are written from.
fn plain(array: &dyn Array) -> Result<arrow::array::ArrayRef> {
    let to = match array.data_type() {
        DataType::Dictionary(_, values) => return plain(&cast(array, values).map_err(other)?),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(..) => {
            // Instants that nanoseconds do not reach are written as what they are.
            let instants = cast(array, &DataType::Timestamp(TimeUnit::Nanosecond, None)).map_err(other)?;
            return Ok(match instants.null_count() == array.null_count() {
                true => instants,
                false => array.slice(0, array.len()),
            });
        }
        t if t.is_signed_integer() => DataType::Int64,
        t if t.is_unsigned_integer() => DataType::UInt64,
        _ => return Ok(array.slice(0, array.len())),
    };
    cast(array, &to).map_err(other)
}

fn other(error: ArrowError) -> std::io::Error {
    std::io::Error::other(error)
}

enum Column<'a> {
    F64(&'a Float64Array),
    F32(&'a Float32Array),
    I64(&'a Int64Array),
    U64(&'a UInt64Array),
    Boolean(&'a BooleanArray),
    Text(&'a StringArray),
    Instant(&'a TimestampNanosecondArray),
    Other(ArrayFormatter<'a>),
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Float64 => Self::F64(array.as_primitive::<Float64Type>()),
            DataType::Float32 => Self::F32(array.as_primitive::<Float32Type>()),
            DataType::Int64 => Self::I64(array.as_primitive::<Int64Type>()),
            DataType::UInt64 => Self::U64(array.as_primitive::<UInt64Type>()),
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Utf8 => Self::Text(array.as_string::<i32>()),
            DataType::Timestamp(TimeUnit::Nanosecond, None) => {
                Self::Instant(array.as_primitive::<TimestampNanosecondType>())
            }
            _ => Self::Other(ArrayFormatter::try_new(array, &FormatOptions::default()).map_err(other)?),
        })
    }

    fn cell(&self, row: usize, line: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::F64(array) => number(line, array.value(row))?,
            Self::F32(array) => number(line, array.value(row).into())?,
            Self::I64(array) => write!(line, "{}", array.value(row))?,
            Self::U64(array) => write!(line, "{}", array.value(row))?,
            Self::Boolean(array) => write!(line, "{}", array.value(row))?,
            Self::Text(array) => text(line, array.value(row)),
            Self::Instant(array) => line.extend_from_slice(rfc3339(array.value(row)).as_bytes()),
            Self::Other(formatter) => text(line, &formatter.value(row).try_to_string().map_err(other)?),
        }
        Ok(())
    }
}

/// The shortest digits that read back, without a superfluous `.0`.
fn number(line: &mut Vec<u8>, x: f64) -> Result<()> {
    if !x.is_finite() {
        line.extend_from_slice(non_finite(x).as_bytes());
        return Ok(());
    }
    write!(line, "{x:?}")?;
    if line.ends_with(b".0") {
        line.truncate(line.len() - 2);
    }
    Ok(())
}

/// Between double quotes where a reader would otherwise see something else.
fn text(line: &mut Vec<u8>, text: &str) {
    let plain =
        !text.is_empty() && memchr::memchr3(b',', b'"', b'\n', text.as_bytes()).is_none() && !text.contains('\r');
    if plain {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    line.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            line.push(b'"');
        }
        line.push(byte);
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Date32Array, DictionaryArray, TimestampMillisecondArray};
    use arrow::datatypes::Int8Type;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn written(columns: Vec<(&str, ArrayRef)>) -> String {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = CsvWriter::new(Vec::new(), &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        String::from_utf8(writer.into_inner()).unwrap()
    }

    #[test]
    fn every_type_has_its_form() {
        let got = written(vec![
            (
                "f",
                Arc::new(Float64Array::from(vec![Some(1e300), Some(f64::NAN), None])),
            ),
            (
                "g",
                Arc::new(Float32Array::from(vec![0.1, f32::INFINITY, f32::NEG_INFINITY])),
            ),
            ("i", Arc::new(Int64Array::from(vec![i64::MIN, 0, i64::MAX]))),
            ("u", Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1]))),
            ("b", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
            (
                "a, \"b\"",
                Arc::new(StringArray::from(vec![Some("x,\"y\""), Some(""), None])),
            ),
            (
                "k",
                Arc::new(["p", "q\r", "p"].into_iter().collect::<DictionaryArray<Int8Type>>()),
            ),
            (
                "t",
                Arc::new(TimestampMillisecondArray::from(vec![0, 1_500, -1]).with_timezone("+02:00")),
            ),
            ("d", Arc::new(Date32Array::from(vec![0, 1, -1]))),
        ]);
        let want = "f,g,i,u,b,\"a, \"\"b\"\"\",k,t,d\n\
            1e300,0.10000000149011612,-9223372036854775808,18446744073709551615,true,\"x,\"\"y\"\"\",p,1970-01-01T00:00:00Z,1970-01-01\n\
            NaN,Infinity,0,0,,\"\",\"q\r\",1970-01-01T00:00:01.5Z,1970-01-02\n\
            ,-Infinity,9223372036854775807,1,false,,p,1969-12-31T23:59:59.999Z,1969-12-31\n";
        assert_eq!(got, want);
    }

    #[test]
    fn a_null_alone_on_its_line_is_no_empty_line() {
        let got = written(vec![("x", Arc::new(Float64Array::from(vec![Some(-0.0), None])))]);
        assert_eq!(got, "x\n-0\n\"\"\n");
    }

    proptest! {
        #[test]
        fn numbers_read_back(x in any::<f64>()) {
            let mut line = Vec::new();
            number(&mut line, x).unwrap();
            let back: f64 = std::str::from_utf8(&line).unwrap().parse().unwrap();
            prop_assert!(back.to_bits() == x.to_bits() || (back.is_nan() && x.is_nan()));
        }
    }
}
