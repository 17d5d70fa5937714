//! What is possible without an engine: the sender into a reader that adds up, and the engine without a socket.

use crate::cases::{CASES, KEYS, WINDOWS, step_ns};
use crate::machine::median;
use crate::outcome::Floor;
use crate::sender::{self, Sending};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use millstream::generate::{Column, Delivery, Format, Options, Target, generate};
use millstream::{Batch, Engine, Spec, Window};
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of the reader's buffer.
const BUFFER_BYTES: usize = 1 << 20;

/// Rows that are pushed from memory at most: they are all held.
const PUSHED_ROWS: u64 = 8_000_000;

/// Rows of a batch that is pushed: what the run loop cuts.
const BATCH_ROWS: usize = 65_536;

/// The feed of a case into a reader that does nothing but add up the columns.
pub(crate) fn tcp(format: &str, rows: u64, rest: &str) -> Result<Floor, String> {
    let case = CASES.iter().find(|case| case.name == format).ok_or("no such case")?;
    let rows = rows / case.share;
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let (own, columns) = (format.to_owned(), case.columns);
    let reader = std::thread::spawn(move || -> std::io::Result<(f64, u64, f64)> {
        let (stream, _) = listener.accept()?;
        let begun = Instant::now();
        let (rows, sum) = match own.as_str() {
            "binary" => binary(stream, columns)?,
            "arrow" => arrow(stream)?,
            _ => csv(stream)?,
        };
        Ok((begun.elapsed().as_secs_f64(), rows, sum))
    });
    let sending = Sending { rows, rate: None, rest };
    let feed = sender::send(case, sending, &["--to", &format!("tcp://{address}")], folder.path())?;
    let read = reader.join().map_err(|_| "the reader panicked")?;
    let (seconds, read, sum) = read.map_err(|e| e.to_string())?;
    let columns = feed.expected.iter().filter_map(|line| line["columns"].as_object());
    let want: f64 = columns
        .flat_map(|columns| columns.values())
        .filter_map(|column| column["sum"].as_f64())
        .sum();
    if read != rows || (sum - want).abs() > 1e-9 * want.abs() {
        return Err(format!(
            "the reader of {format} came to {read} rows and a sum of {sum}, not {rows} and {want}"
        ));
    }
    Ok(Floor {
        name: format!("{format}, read and added up"),
        rows,
        rows_per_second: rows as f64 / seconds,
    })
}

fn binary(stream: TcpStream, columns: usize) -> std::io::Result<(u64, f64)> {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
    let (mut rows, mut sums, mut frame) = (0, vec![0.0; columns], Vec::new());
    let mut length = [0; 4];
    while !stream.fill_buf()?.is_empty() {
        stream.read_exact(&mut length)?;
        frame.resize(u32::from_le_bytes(length) as usize, 0);
        stream.read_exact(&mut frame)?;
        for row in frame.chunks_exact(16 + 8 * columns) {
            rows += 1;
            for (sum, value) in sums.iter_mut().zip(row[16..].chunks_exact(8)) {
                *sum += f64::from_le_bytes(value.try_into().expect("eight bytes"));
            }
        }
    }
    Ok((rows, sums.iter().sum()))
}

fn arrow(stream: TcpStream) -> std::io::Result<(u64, f64)> {
    let (mut rows, mut sum) = (0, 0.0);
    let batches = StreamReader::try_new(BufReader::with_capacity(BUFFER_BYTES, stream), None);
    for batch in batches.map_err(std::io::Error::other)? {
        let batch = batch.map_err(std::io::Error::other)?;
        rows += batch.num_rows() as u64;
        for column in &batch.columns()[2..] {
            sum += column.as_primitive::<Float64Type>().values().iter().sum::<f64>();
        }
    }
    Ok((rows, sum))
}

fn csv(stream: TcpStream) -> std::io::Result<(u64, f64)> {
    let mut stream = BufReader::with_capacity(BUFFER_BYTES, stream);
    let (mut rows, mut sum, mut line) = (0, 0.0, String::new());
    stream.read_line(&mut line)?;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok((rows, sum));
        }
        rows += 1;
        for cell in line.trim_end().split(',').skip(2) {
            sum += cell.parse::<f64>().map_err(std::io::Error::other)?;
        }
    }
}

/// `Engine::push` of batches that are in memory: eight columns, by key and window.
pub(crate) fn push(rows: u64, runs: usize) -> Result<Floor, String> {
    let say = |e: millstream::Error| e.to_string();
    let rows = rows.min(PUSHED_ROWS);
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join("feed.arrow");
    let options = Options {
        columns: (0..8).map(|i| Column::new(format!("c{i}"), 20.0, 2.0)).collect(),
        rows,
        keys: KEYS,
        step_ns: step_ns(rows, WINDOWS),
        ..Options::default()
    };
    let delivery = Delivery {
        format: Format::Arrow,
        ..Delivery::new(Target::File(path.clone()))
    };
    generate(&options, &delivery, None).map_err(say)?;
    let file = std::fs::File::open(&path).map_err(|e| e.to_string())?;
    let read = StreamReader::try_new(BufReader::new(file), None).map_err(|e| e.to_string())?;
    let small: Vec<RecordBatch> = read.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let mut batches = Vec::new();
    for group in small.chunks((BATCH_ROWS / small[0].num_rows()).max(1)) {
        let whole = arrow::compute::concat_batches(&group[0].schema(), group).map_err(|e| e.to_string())?;
        let times = whole.column(0).as_primitive::<Int64Type>();
        let times: Vec<i64> = times.values().iter().map(|ms| ms * 1_000_000).collect();
        let columns = options
            .columns
            .iter()
            .zip(&whole.columns()[2..])
            .map(|(column, values)| {
                let values = values.as_primitive::<Float64Type>().values().to_vec();
                (column.name.clone(), values)
            });
        let batch = Batch::from_columns(columns)
            .and_then(|batch| batch.with_keys(vec![("key".into(), Arc::clone(whole.column(1)))]))
            .and_then(|batch| batch.with_time_ns(times));
        batches.push(batch.map_err(say)?);
    }
    let second = 1_000_000_000;
    let window = Window::Time {
        size_ns: second,
        slide_ns: second,
    };
    let mut rates = Vec::new();
    for _ in 0..runs {
        let mut engine = Engine::new(Spec::new().mean_and_variance().by(["key"]).window(window)).map_err(say)?;
        let begun = Instant::now();
        let mut closed = Vec::new();
        for batch in &batches {
            closed.extend(engine.push(batch).map_err(say)?);
        }
        closed.extend(engine.close().map_err(say)?);
        rates.push(rows as f64 / begun.elapsed().as_secs_f64());
        let counted: u64 = closed.iter().map(|closed| closed.summary.rows).sum();
        if counted != rows {
            return Err(format!("the engine counted {counted} rows instead of {rows}"));
        }
    }
    Ok(Floor {
        name: "Engine::push from memory".into(),
        rows,
        rows_per_second: median(&mut rates),
    })
}
