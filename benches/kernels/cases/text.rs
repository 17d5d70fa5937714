//! csv as it comes over a wire, decoded on one thread.

use super::{CLOSE, Case, Table};
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use millstream::io::live::{ColumnType, Context, Limits, Stop, WireFormat, WireOptions};
use millstream::io::wire::Decoder;
use std::fmt::Write;
use std::sync::Arc;

const COLUMNS: usize = 8;

fn context() -> Context {
    Context {
        name: "bench".into(),
        wire: Arc::new(WireOptions {
            format: WireFormat::Csv,
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

pub(super) fn add(values: usize, cases: &mut Vec<Case>) {
    // A value of text takes far longer than one of a column.
    let table = Table::new(values / 8 / COLUMNS, COLUMNS);
    let mut text = String::new();
    for row in 0..table.rows() {
        for (c, column) in table.columns.iter().enumerate() {
            let (value, end) = (column[row], if c + 1 < COLUMNS { ',' } else { '\n' });
            // Thousandths, as measurements have them.
            write!(text, "{}.{:03}{end}", value / 8, value % 8 * 125).expect("memory");
        }
    }
    let context = context();
    cases.push(Case {
        name: "text/csv".into(),
        values: table.values(),
        run: Box::new(move || {
            let mut decoder = Decoder::new(&context, "bench").expect("a decoder");
            let mut sums = vec![0.0; COLUMNS];
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                let read = decoder.fill(&mut rest).expect("memory can be read");
                assert!(read > 0, "a decoder takes what there is");
                while let Some(got) = decoder.next_rows().expect("whole rows") {
                    for (sum, column) in sums.iter_mut().zip(got.batch.columns()) {
                        *sum += column.as_primitive::<Float64Type>().values().iter().sum::<f64>();
                    }
                }
            }
            sums
        }),
        // Eighths add up exactly.
        expected: table
            .columns
            .iter()
            .map(|c| c.iter().sum::<i64>() as f64 / 8.0)
            .collect(),
        close: CLOSE,
    });
}
