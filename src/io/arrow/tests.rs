//! Arrow files and streams of every kind, whole, damaged and cut short.

use super::*;
use crate::io::{BadRows, TimeUnit};
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, DictionaryArray, Float32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int8Type, TimestampNanosecondType};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use std::path::PathBuf;

fn sample(rows: usize) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("i", Arc::new((0..rows as i64).map(Some).collect::<Int64Array>())),
        (
            "f",
            Arc::new(
                (0..rows)
                    .map(|i| (i % 7 != 3).then_some(i as f32))
                    .collect::<Float32Array>(),
            ),
        ),
        (
            "s",
            Arc::new((0..rows).map(|i| Some(format!("row {i}"))).collect::<StringArray>()),
        ),
        (
            "k",
            Arc::new(
                (0..rows)
                    .map(|i| Some(["a", "b"][i % 2]))
                    .collect::<DictionaryArray<Int8Type>>(),
            ),
        ),
        (
            "d",
            Arc::new((0..rows as i32).map(|i| (i != 1).then_some(i)).collect::<Date32Array>()),
        ),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn options(compression: Option<CompressionType>) -> IpcWriteOptions {
    IpcWriteOptions::default().try_with_compression(compression).unwrap()
}

fn file_of(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let schema = batches[0].schema();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &schema, options(compression)).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn stream_of(batches: &[RecordBatch], compression: Option<CompressionType>) -> Vec<u8> {
    let schema = batches[0].schema();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options(compression)).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

/// The same bytes as a file on disk and as bytes that come once.
fn open_both(bytes: &[u8], options: &ReadOptions) -> [Result<ArrowSource>; 2] {
    let mut file = tempfile::Builder::new().suffix(".arrow").tempfile().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let incoming = Box::new(Cursor::new(bytes.to_vec()));
    [
        ArrowSource::open(file.path(), options),
        ArrowSource::from_incoming(&PathBuf::from("-.arrow"), incoming, options),
    ]
}

fn read_all(mut source: ArrowSource) -> Result<(Vec<RecordBatch>, u64)> {
    let (mut batches, mut bytes) = (Vec::new(), 0);
    while let Read::Batch(rows, position) = source.read()? {
        assert_eq!(position.rows, source.rows_read);
        bytes = rows.bytes_read;
        batches.push(rows.batch);
    }
    assert!(matches!(source.read()?, Read::End));
    Ok((batches, bytes))
}

#[test]
fn files_and_streams_of_every_codec_round_trip() {
    let (first, rows) = (sample(10), 25);
    let second = sample(rows).slice(10, 15);
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let batches = [first.clone(), first.slice(0, 0), second.clone()];
        // One dictionary serves a file, so its batches have to share it.
        for bytes in [file_of(&batches, compression), stream_of(&batches, compression)] {
            for source in open_both(&bytes, &ReadOptions::default()) {
                let (got, read) = read_all(source.unwrap()).unwrap();
                assert!(
                    read > bytes.len() as u64 / 2 && read <= bytes.len() as u64,
                    "{read} of {}",
                    bytes.len()
                );
                assert_eq!(got.len(), 2);
                let got = arrow::compute::concat_batches(&got[0].schema(), &got).unwrap();
                let want = sample(rows);
                assert_eq!(got.column(0).data_type(), &DataType::Float64);
                assert_eq!(got.column(0).as_primitive::<Float64Type>().value(24), 24.0);
                for column in [1, 2, 4] {
                    assert_eq!(got.column(column), want.column(column), "{column}");
                }
                assert!(matches!(got.column(3).data_type(), DataType::Dictionary(..)));
                assert_eq!(format!("{:?}", text(&got)), format!("{:?}", text(&want)));
            }
        }
    }
}

fn text(batch: &RecordBatch) -> ArrayRef {
    arrow::compute::cast(batch.column(3), &DataType::Utf8).unwrap()
}

#[test]
fn large_batches_are_sliced_without_copying() {
    let bytes = file_of(&[sample(2 * BATCH_ROWS + 5)], None);
    for source in open_both(&bytes, &ReadOptions::default()) {
        let mut source = source.unwrap();
        source.select(&["f".into()]).unwrap();
        let (got, _) = read_all(source).unwrap();
        assert_eq!(
            got.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
            [BATCH_ROWS, BATCH_ROWS, 5]
        );
        let pointer = |i: usize| got[i].column(0).as_primitive::<Float32Type>().values().as_ptr();
        assert_eq!(pointer(1) as usize - pointer(0) as usize, BATCH_ROWS * 4);
        assert_eq!(
            got[2].column(0).as_primitive::<Float32Type>().value(4),
            (2 * BATCH_ROWS + 4) as f32
        );
    }
}

#[test]
fn selection_order_and_unknown_columns() {
    for bytes in [file_of(&[sample(3)], None), stream_of(&[sample(3)], None)] {
        for source in open_both(&bytes, &ReadOptions::default()) {
            let mut source = source.unwrap();
            assert!(matches!(source.select(&["x".into()]), Err(Error::Usage(m)) if m.contains("`x`")));
            source.select(&["s".into(), "i".into()]).unwrap();
            let Read::Batch(rows, _) = source.read().unwrap() else {
                panic!()
            };
            assert_eq!(rows.batch.column(0).as_string::<i32>().value(2), "row 2");
            assert_eq!(rows.batch.column(1).as_primitive::<Float64Type>().value(2), 2.0);
            assert!(source.select(&["i".into()]).is_err());
        }
    }
}

#[test]
fn the_time_column_and_its_bad_rows() {
    let read = ReadOptions {
        time: Some(("d".into(), TimeUnit::Seconds)),
        bad_rows: BadRows::Skip,
        ..ReadOptions::default()
    };
    for source in open_both(&stream_of(&[sample(3)], None), &read) {
        let mut source = source.unwrap();
        source.select(&["d".into()]).unwrap();
        let Read::Batch(rows, position) = source.read().unwrap() else {
            panic!()
        };
        let times = rows.batch.column(0).as_primitive::<TimestampNanosecondType>();
        assert_eq!(times.values(), &[0, 2 * 86_400_000_000_000]);
        assert_eq!((rows.rejected.len(), rows.rejected[0].line, position.rows), (1, 2, 3));
    }
}

#[test]
fn truncated_files_are_bad_data_and_truncated_streams_never_give_half_a_batch() {
    let batches = [sample(6), sample(6)];
    let bytes = file_of(&batches, Some(CompressionType::ZSTD));
    for end in (0..bytes.len()).step_by(3) {
        for source in open_both(&bytes[..end], &ReadOptions::default()) {
            let error = source.and_then(read_all).unwrap_err();
            assert!(
                matches!(&error, Error::Data(m) if m.contains(".arrow")),
                "{end}: {error:?}"
            );
        }
    }
    let bytes = stream_of(&batches, None);
    let (mut ends, mut errors) = (0, 0);
    for end in 0..bytes.len() {
        for source in open_both(&bytes[..end], &ReadOptions::default()) {
            match source.and_then(read_all) {
                Ok((batches, _)) => {
                    assert!(batches.iter().all(|b| b.num_rows() == 6), "{end}");
                    ends += 1;
                }
                Err(error) => {
                    assert!(
                        matches!(&error, Error::Data(m) if m.contains(".arrow")),
                        "{end}: {error:?}"
                    );
                    errors += 1;
                }
            }
        }
    }
    // Between messages only: behind the schema, a dictionary and a batch each, and before the end mark.
    assert!(ends <= 2 * 6 && errors > 100, "{ends} {errors}");
}

#[test]
fn damaged_bytes_never_panic() {
    for bytes in [file_of(&[sample(6)], None), stream_of(&[sample(6)], None)] {
        let mut noticed = 0;
        for at in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let incoming = Box::new(Cursor::new(damaged));
            let source = ArrowSource::from_incoming(Path::new("x"), incoming, &ReadOptions::default());
            if let Err(error) = source.and_then(read_all) {
                assert_eq!(error.exit_code(), 65, "{at}: {error:?}");
                noticed += 1;
            }
        }
        assert!(noticed > 20, "{noticed}");
    }
}

#[test]
fn what_is_no_arrow_is_told() {
    for (bytes, want) in [
        (&b"a,b\n"[..], "text"),
        (b"PAR1....PAR1", "Parquet"),
        (b"", "is empty"),
        (b"FEA1", "version 1"),
    ] {
        for source in open_both(bytes, &ReadOptions::default()) {
            let error = source.unwrap_err();
            assert!(matches!(&error, Error::Data(m) if m.contains(want)), "{error}");
        }
    }
}

/// The place of the first buffer's length in a compressed message: that of a column of `rows` numbers.
fn claim_of(bytes: &[u8], rows: u64) -> usize {
    let claim = (rows * 8).to_le_bytes();
    bytes.windows(8).position(|w| w == claim).unwrap()
}

#[test]
fn a_buffer_that_claims_to_expand_beyond_all_bounds_is_refused_before_it_is_allocated() {
    let column: ArrayRef = Arc::new((0..1000).map(Some).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        for mut bytes in [
            file_of(std::slice::from_ref(&batch), Some(compression)),
            stream_of(std::slice::from_ref(&batch), Some(compression)),
        ] {
            let at = claim_of(&bytes, 1000);
            for claim in [1u64 << 60, 1 << 40, (1 << 28) + 10_000_000] {
                bytes[at..at + 8].copy_from_slice(&claim.to_le_bytes());
                for source in open_both(&bytes, &ReadOptions::default()) {
                    let error = source.and_then(read_all).unwrap_err();
                    assert!(
                        matches!(&error, Error::Limit(m) if m.contains(".arrow") && m.contains("--max-expansion")),
                        "{claim}: {error:?}"
                    );
                }
            }
            // Beyond the slack a bound of 0 refuses everything, and an honest claim is far below it.
            bytes[at..at + 8].copy_from_slice(&8000u64.to_le_bytes());
            let strict = ReadOptions {
                max_expansion: 0,
                ..ReadOptions::default()
            };
            for source in open_both(&bytes, &strict) {
                assert_eq!(read_all(source.unwrap()).unwrap().0[0].num_rows(), 1000);
            }
        }
    }
}

/// The length that the footer gives a block counts, not the one in its message.
#[test]
fn the_claims_of_a_block_are_looked_at_even_if_its_message_says_it_has_no_body() {
    let column: ArrayRef = Arc::new((0..1000).map(Some).collect::<Int64Array>());
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    let mut bytes = file_of(&[batch], Some(CompressionType::ZSTD));
    let at = claim_of(&bytes, 1000);
    let mut own = Cursor::new(bytes.clone());
    let (_, blocks) = claims::blocks(&mut own, bytes.len() as u64).unwrap();
    let body = blocks[0].bodyLength().to_le_bytes();
    let message = bytes.windows(8).position(|w| w == body).unwrap();
    assert!(message < at, "the message stands before its body");
    bytes[message..message + 8].fill(0);
    bytes[at..at + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    for source in open_both(&bytes, &ReadOptions::default()) {
        assert!(matches!(source.and_then(read_all), Err(Error::Limit(_))));
    }
}

#[test]
fn a_block_that_lies_behind_the_end_is_damage() {
    let bytes = file_of(&[sample(6)], None);
    let mut own = Cursor::new(bytes.clone());
    let (_, blocks) = claims::blocks(&mut own, bytes.len() as u64).unwrap();
    let bound = Bound::new("x".into(), &ReadOptions::default());
    for (offset, metadata, body) in [
        (blocks[0].offset(), blocks[0].metaDataLength(), i64::MAX),
        (i64::MAX, 8, 8),
        (-8, 8, 8),
        (8, -8, 8),
        (8, 8, -8),
    ] {
        let block = Block::new(offset, metadata, body);
        let error = claims::check_block(&mut own, bytes.len() as u64, &block, &bound).unwrap_err();
        assert!(matches!(error, Error::Data(m) if m.contains("behind its end")));
    }
}

/// A block that claims fewer bytes of metadata than its message has would be decoded all the same, unseen.
#[test]
fn a_block_whose_message_is_not_whole_is_damage() {
    let bytes = file_of(&[sample(6)], Some(CompressionType::ZSTD));
    let mut own = Cursor::new(bytes.clone());
    let length = bytes.len() as u64;
    let (_, blocks) = claims::blocks(&mut own, length).unwrap();
    let bound = Bound::new("x".into(), &ReadOptions::default());
    assert!(claims::check_block(&mut own, length, &blocks[0], &bound).is_ok());
    let (start, metadata) = (blocks[0].offset(), blocks[0].metaDataLength());
    for cut in [0, 3, 8, 16, metadata / 2] {
        let block = Block::new(start, cut, blocks[0].bodyLength());
        let error = claims::check_block(&mut own, length, &block, &bound).unwrap_err();
        assert!(
            matches!(error, Error::Data(m) if m.contains("does not begin with a message")),
            "{cut}"
        );
    }
}
