//! Binary frames: any cutting gives what the whole gives, and the values are those that plain code reads.
//!
//! The first three bytes choose the columns and the pieces; the rest are frames.
#![no_main]

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;
use libfuzzer_sys::fuzz_target;
use millstream::io::TimeUnit;
use millstream::io::live::{ColumnType, WireFormat};
use millstream_fuzz::wire::{options, same_in_pieces};

/// The values of the frames that are whole and have a right length, row by row.
fn reference(mut bytes: &[u8], columns: usize) -> Vec<u64> {
    let mut values = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        if !length.is_multiple_of(8 * columns) || length > rest.len() {
            break;
        }
        let words = rest[..length].as_chunks().0;
        values.extend(words.iter().map(|word| u64::from_le_bytes(*word)));
        bytes = &rest[length..];
    }
    values
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([flags, size, at], frames)) = bytes.split_first_chunk().map(|(head, rest)| (*head, rest)) else {
        return;
    };
    let columns = 1 + usize::from(flags & 3);
    let mut options = options(WireFormat::Binary);
    options.columns = Some((0..columns).map(|c| format!("c{c}")).collect());
    let plain = flags & 28 == 0;
    if flags & 4 != 0 {
        options.time = Some(("c0".into(), TimeUnit::Seconds));
    }
    if flags & 8 != 0 {
        options.values = ColumnType::F32;
    }
    if flags & 16 != 0 {
        options.types.insert("c0".into(), ColumnType::I64);
    }
    let given = same_in_pieces(&options, frames, flags & 32 == 0, size.into(), at.into());
    if plain {
        let want = reference(frames, columns);
        let rows = given.batch.as_ref().map_or(0, |batch| batch.num_rows());
        assert_eq!(rows, want.len() / columns);
        for (c, column) in given.batch.iter().flat_map(|batch| batch.columns()).enumerate() {
            assert_eq!(column.null_count(), 0);
            let own = column
                .as_primitive::<Float64Type>()
                .values()
                .iter()
                .map(|x| x.to_bits());
            assert!(own.eq(want.iter().skip(c).step_by(columns).copied()), "column {c}");
        }
    }
});
