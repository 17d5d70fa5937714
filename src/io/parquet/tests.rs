//! Parquet files of every codec, whole, damaged and cut short.

use super::*;
use crate::io::columnar::BATCH_ROWS;
use crate::io::{BadRows, TimeUnit};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array,
    Int64Array, RecordBatch, StringArray, TimestampMillisecondArray, UInt8Array,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Int32Type, TimestampNanosecondType};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

fn bytes_of(batch: &RecordBatch, compression: Compression, group_rows: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(group_rows))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn open(bytes: &[u8], options: &ReadOptions) -> Result<ParquetSource> {
    let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let from_file = ParquetSource::open(file.path(), options);
    let from_memory = ParquetSource::from_region(file.path(), Region::Memory(bytes.to_vec().into()), options);
    assert!(bytes.is_empty() || from_file.is_ok() == from_memory.is_ok());
    from_file
}

fn read_all(mut source: ParquetSource) -> Result<(Vec<RecordBatch>, Rows)> {
    let (mut batches, mut last) = (Vec::new(), None);
    while let Read::Batch(rows, position) = source.read()? {
        assert!(rows.batch.num_rows() <= BATCH_ROWS);
        assert_eq!(position.rows, source.rows_read);
        batches.push(rows.batch.clone());
        last = Some(rows);
    }
    Ok((batches, last.unwrap()))
}

fn whole_of(bytes: &[u8], options: &ReadOptions) -> Result<RecordBatch> {
    let source = open(bytes, options)?;
    let schema = source.schema();
    let (batches, last) = read_all(source)?;
    assert_eq!(last.bytes_read, bytes.len() as u64);
    Ok(concat_batches(&schema, &batches).unwrap())
}

fn every_type() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("u8", Arc::new(UInt8Array::from(vec![Some(1), None, Some(255)]))),
        ("i64", Arc::new(Int64Array::from(vec![Some(-1), Some(1 << 53), None]))),
        (
            "f16",
            cast(
                &Float32Array::from(vec![Some(0.5), None, Some(2.0)]),
                &DataType::Float16,
            )
            .unwrap(),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::NAN)])),
        ),
        (
            "f64",
            Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::INFINITY), None])),
        ),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![Some(314), None, Some(-5)])
                    .with_precision_and_scale(20, 2)
                    .unwrap(),
            ),
        ),
        (
            "bool",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        ("text", Arc::new(StringArray::from(vec![Some("a"), Some(""), None]))),
        (
            "key",
            Arc::new(
                [Some("x"), None, Some("x")]
                    .into_iter()
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
        ("date", Arc::new(Date32Array::from(vec![Some(1), None, Some(-1)]))),
        (
            "at",
            Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3]).with_timezone("UTC")),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn every_codec_and_type_round_trips() {
    let batch = every_type();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ] {
        let got = whole_of(&bytes_of(&batch, compression, 1000), &ReadOptions::default()).unwrap();
        assert_eq!(got.num_columns(), batch.num_columns());
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let want = match field.name().as_str() {
                "u8" | "i64" | "dec" => cast(column, &DataType::Float64).unwrap(),
                "f16" => cast(column, &DataType::Float32).unwrap(),
                _ => Arc::clone(column),
            };
            let name = field.name();
            let got = got.column_by_name(name).unwrap();
            assert_eq!(got.data_type(), want.data_type(), "{name} {compression}");
            // Debug text, because NaN is not equal to itself.
            assert_eq!(format!("{got:?}"), format!("{want:?}"), "{name} {compression}");
        }
    }
}

fn counting(rows: usize) -> RecordBatch {
    let column = |factor: f64| Arc::new((0..rows).map(|i| i as f64 * factor).collect::<Float64Array>()) as ArrayRef;
    RecordBatch::try_from_iter([("a", column(1.0)), ("b", column(-1.0)), ("c", column(0.5))]).unwrap()
}

fn check_order(batches: &[RecordBatch], rows: usize) {
    let mut next = 0;
    for batch in batches {
        for (&c, &a) in batch
            .column(0)
            .as_primitive::<Float64Type>()
            .values()
            .iter()
            .zip(batch.column(1).as_primitive::<Float64Type>().values())
        {
            assert_eq!((a, c), (next as f64, next as f64 * 0.5));
            next += 1;
        }
    }
    assert_eq!(next, rows);
}

#[test]
fn order_is_kept_over_row_groups_small_and_large() {
    let rows = 2 * BATCH_ROWS + 777;
    for group_rows in [997, BATCH_ROWS, BATCH_ROWS + 1, rows] {
        let bytes = bytes_of(&counting(rows), Compression::SNAPPY, group_rows);
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut source = open(&bytes, &ReadOptions::default()).unwrap();
            source.select(&["c".into(), "a".into()]).unwrap();
            // Inside the pool: a pool of one thread must not wait for itself.
            let (batches, _) = pool.install(|| read_all(source)).unwrap();
            assert!(batches.iter().all(|b| b.num_columns() == 2));
            check_order(&batches, rows);
        }
        let mut source = open(&bytes, &ReadOptions::default()).unwrap();
        source.select(&["c".into(), "a".into()]).unwrap();
        check_order(&read_all(source).unwrap().0, rows);
    }
}

#[test]
fn few_row_groups_are_open_and_a_large_one_is_not_decoded_whole() {
    let bytes = bytes_of(&counting(100_000), Compression::UNCOMPRESSED, 1000);
    let mut source = open(&bytes, &ReadOptions::default()).unwrap();
    source.select(&["a".into()]).unwrap();
    source.read().unwrap();
    let State::Reading(decoder) = &source.state else {
        panic!()
    };
    assert!(decoder.groups_in_flight() <= rayon::current_num_threads() + 1);
    let bytes = bytes_of(&counting(5 * BATCH_ROWS), Compression::UNCOMPRESSED, 5 * BATCH_ROWS);
    let Read::Batch(rows, _) = open(&bytes, &ReadOptions::default()).unwrap().read().unwrap() else {
        panic!()
    };
    assert_eq!(rows.batch.num_rows(), BATCH_ROWS);
    assert!(rows.bytes_read < bytes.len() as u64 / 4);
}

#[test]
fn columns_that_are_not_selected_are_not_read_and_none_is_possible() {
    let bytes = bytes_of(&counting(BATCH_ROWS + 1), Compression::UNCOMPRESSED, 1 << 20);
    let mut source = open(&bytes, &ReadOptions::default()).unwrap();
    assert!(matches!(source.select(&["d".into()]), Err(Error::Usage(m)) if m.contains("`d`") && m.contains("`c`")));
    source.select(&[]).unwrap();
    let (batches, _) = read_all(source).unwrap();
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
        [BATCH_ROWS, 1]
    );
    let mut source = open(&bytes, &ReadOptions::default()).unwrap();
    source.read().unwrap();
    assert!(source.select(&["a".into()]).is_err());
}

#[test]
fn rows_without_a_time_are_bad_rows() {
    let batch = RecordBatch::try_from_iter([
        (
            "t",
            Arc::new(StringArray::from(vec![Some("2012-01-01"), None, Some("x")])) as ArrayRef,
        ),
        ("v", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])) as ArrayRef),
    ])
    .unwrap();
    let bytes = bytes_of(&batch, Compression::SNAPPY, 2);
    let mut options = ReadOptions {
        time: Some(("t".into(), TimeUnit::Seconds)),
        ..ReadOptions::default()
    };
    let error = whole_of(&bytes, &options).unwrap_err();
    assert!(matches!(&error, Error::Row(bad) if bad.line == 2), "{error}");
    options.bad_rows = BadRows::Skip;
    let mut source = open(&bytes, &options).unwrap();
    let mut lines = Vec::new();
    while let Read::Batch(rows, _) = source.read().unwrap() {
        assert_eq!(
            rows.batch
                .column(0)
                .as_primitive::<TimestampNanosecondType>()
                .null_count(),
            0
        );
        lines.extend(rows.rejected.iter().map(|r| r.line));
    }
    assert_eq!(lines, [2, 3]);
}

#[test]
fn a_truncated_file_is_bad_data_wherever_it_ends() {
    let bytes = bytes_of(&every_type(), Compression::SNAPPY, 2);
    for end in 0..bytes.len() {
        let error = whole_of(&bytes[..end], &ReadOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{end}: {error:?}");
        assert!(error.to_string().contains(".parquet"), "{error}");
    }
}

#[test]
fn damaged_bytes_never_panic() {
    let bytes = bytes_of(&every_type(), Compression::SNAPPY, 2);
    let mut noticed = 0;
    for at in (0..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let source =
            ParquetSource::from_region(Path::new("x"), Region::Memory(damaged.into()), &ReadOptions::default());
        if let Err(error) = source.and_then(read_some) {
            assert_eq!(error.exit_code(), 65, "{at}: {error:?}");
            noticed += 1;
        }
    }
    assert!(noticed > 100, "{noticed}");
}

fn read_some(mut source: ParquetSource) -> Result<()> {
    while let Read::Batch(..) = source.read()? {}
    Ok(())
}

#[test]
fn what_is_no_parquet_is_told() {
    for (bytes, want) in [
        (&b"a,b\n1,2\n"[..], "text"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0", "gzip"),
        (b"ARROW1\0\0ARROW1", "Arrow"),
        (b"", "is empty"),
        (b"PAR1", "damaged or truncated"),
    ] {
        let error = open(bytes, &ReadOptions::default()).unwrap_err();
        assert!(matches!(&error, Error::Data(m) if m.contains(want)), "{error}");
    }
}

#[test]
fn no_rows_is_an_end() {
    let bytes = bytes_of(&counting(0), Compression::SNAPPY, 10);
    let mut source = open(&bytes, &ReadOptions::default()).unwrap();
    assert_eq!(source.schema().fields().len(), 3);
    assert!(matches!(source.read().unwrap(), Read::End));
}

/// The decoder makes room for what a dictionary page claims before it reads a value: up to 2^31 of them.
#[test]
fn a_dictionary_that_claims_more_values_than_it_has_bytes_is_damage() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 9]));
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    let bytes = bytes_of(&batch, Compression::UNCOMPRESSED, 1000);
    // The header of the dictionary page: its number of values (3, zigzag 6) and its encoding (PLAIN, zigzag 0).
    let at = 4 + bytes[4..]
        .windows(4)
        .position(|w| w == [0x15, 0x06, 0x15, 0x00])
        .unwrap();
    let mut damaged = bytes.clone();
    damaged[at + 1] = 0x7e; // 63 values of 8 bytes in 24 bytes
    let error = ParquetSource::from_bytes("t", damaged, &ReadOptions::default())
        .and_then(read_all)
        .unwrap_err();
    assert!(
        matches!(&error, Error::Data(m) if m.contains("24 bytes claims to hold 63 values")),
        "{error}"
    );
}
