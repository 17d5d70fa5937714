//! Decoding what comes over a wire: bytes that lie in memory to batches, on one thread.
//!
//! Each decoder's answer is checked against the numbers that the bytes were made of before it is timed.

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream::io::live::{ColumnType, Context, Limits, Stop, WireFormat, WireOptions};
use millstream::io::wire::Decoder;
use std::sync::Arc;

const ROWS: usize = 1 << 20;
const COLUMNS: usize = 10;

/// Bytes that a read gives.
const PIECE_BYTES: usize = 1 << 20;

fn value(row: usize, column: usize) -> f64 {
    ((row * 31 + column * 17) % 10_007) as f64 / 8.0
}

fn context(format: WireFormat) -> Context {
    Context {
        name: "bench".into(),
        wire: Arc::new(WireOptions {
            format,
            columns: Some((0..COLUMNS).map(|c| format!("c{c}")).collect()),
            types: (0..COLUMNS).map(|c| (format!("c{c}"), ColumnType::F64)).collect(),
            values: ColumnType::F64,
            wanted: None,
            time: None,
            keys: Vec::new(),
            numeric: Vec::new(),
            line_bytes_max: 1 << 20,
        }),
        limits: Limits::default(),
        stop: Stop::default(),
        counters: Arc::default(),
        schema: Arc::default(),
    }
}

fn binary() -> Vec<u8> {
    let mut bytes = Vec::new();
    for first in (0..ROWS).step_by(1024) {
        bytes.extend(u32::try_from(1024 * COLUMNS * 8).expect("small").to_le_bytes());
        for row in first..first + 1024 {
            bytes.extend((0..COLUMNS).flat_map(|c| value(row, c).to_le_bytes()));
        }
    }
    bytes
}

fn csv() -> Vec<u8> {
    let mut text = String::new();
    for row in 0..ROWS {
        let cells: Vec<String> = (0..COLUMNS).map(|c| value(row, c).to_string()).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text.into_bytes()
}

/// Decodes everything; the rows and, for each column, the sum of its values.
fn decode(context: &Context, bytes: &[u8], check: bool) -> (usize, Vec<f64>) {
    let mut decoder = Decoder::new(context, "bench").expect("a decoder");
    let (mut rows, mut sums, mut rest) = (0, vec![0.0; COLUMNS], bytes);
    while !rest.is_empty() {
        let mut piece = &rest[..rest.len().min(PIECE_BYTES)];
        rest = &rest[decoder.fill(&mut piece).expect("memory can be read")..];
        while let Some(got) = decoder.next_rows().expect("whole rows") {
            rows += got.batch.num_rows();
            if check {
                for (sum, column) in sums.iter_mut().zip(got.batch.columns()) {
                    *sum += column.as_primitive::<Float64Type>().values().iter().sum::<f64>();
                }
            }
        }
    }
    (rows, sums)
}

fn wire(criterion: &mut Criterion) {
    // Eighths below 2^53 add up exactly, in any order.
    let want: Vec<f64> = (0..COLUMNS).map(|c| (0..ROWS).map(|row| value(row, c)).sum()).collect();
    let mut group = criterion.benchmark_group("wire");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    for (name, format, bytes) in [
        ("binary", WireFormat::Binary, binary()),
        ("csv", WireFormat::Csv, csv()),
    ] {
        let context = context(format);
        assert_eq!(decode(&context, &bytes, true), (ROWS, want.clone()), "{name}");
        group.bench_function(name, |b| b.iter(|| decode(&context, &bytes, false).0));
    }
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
