//! Small inputs that ask for much memory: they are refused, or cut up, and every row of them is counted.

use crate::feed_support::{PATIENCE, context, wait_for, wire};
use crate::http_client::{Answer, connect, post, read_answer, send};
use arrow::array::{
    ArrayRef, Float64Array, Int32Array, NullArray, RecordBatch, RunArray, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::Int32Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use millstream::io::TimeUnit;
use millstream::io::http::{HttpOptions, HttpSource};
use millstream::io::live::{ColumnType, Context, WireFormat};
use millstream::io::tcp::{TcpOptions, TcpSource};
use millstream::io::tls::Security;
use millstream::io::wire::Decoder;
use millstream::io::{Read, Rows, Source};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn open(context: &Context) -> HttpSource {
    let options = HttpOptions {
        listen: local(),
        security: Security::default(),
    };
    HttpSource::open(context, options, None).unwrap()
}

/// The next rows of a source.
fn next(source: &mut impl Source) -> Rows {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until);
        if let Read::Batch(rows, _) = source.read().unwrap() {
            return rows;
        }
    }
}

/// A body that is `first` and then `unit` so many times, packed.
fn packed(first: &str, unit: &str, times: usize) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(first.as_bytes()).unwrap();
    let block = unit.repeat(4096);
    for _ in 0..times / 4096 {
        encoder.write_all(block.as_bytes()).unwrap();
    }
    encoder.finish().unwrap()
}

fn gzipped(address: SocketAddr, body: &[u8]) -> Answer {
    send(address, &post("/", &[("content-encoding", "gzip")], body))
}

#[test]
fn bad_rows_are_counted_and_some_of_them_kept() {
    let context = context(wire(WireFormat::Ndjson));
    let mut source = open(&context);
    let bad = 2 << 20;
    let body = packed("{\"x\":1}\n", "x\n", bad);
    assert!(body.len() < 100_000);
    gzipped(source.address(), &body).took(1, bad as u64);
    let rows = next(&mut source);
    assert_eq!((rows.batch.num_rows(), rows.rejected_count()), (1, bad as u64));
    assert!((1000..50_000).contains(&rows.rejected.len()), "{}", rows.rejected.len());
    // What is kept is the beginning, line by line.
    assert!(
        rows.rejected
            .iter()
            .map(|bad| bad.line)
            .eq(2..rows.rejected.len() as u64 + 2)
    );
}

#[test]
fn rows_that_lack_most_columns_do_not_outgrow_their_body() {
    let names: Vec<String> = (0..64).map(|i| format!("\"c{i}\":1")).collect();
    let first = format!("{{{}}}\n", names.join(","));
    let context = context(wire(WireFormat::Ndjson));
    let mut source = open(&context);
    send(source.address(), &post("/", &[], first.as_bytes())).took(1, 0);
    gzipped(source.address(), &packed("", "{}\n", 1 << 20)).refuses(413, &["rows of a body", "[limits] body"]);
    // What is refused gives nothing, and the next one comes through.
    send(source.address(), &post("/", &[], b"{}\n{}\n")).took(2, 0);
    assert_eq!(next(&mut source).count(), 1);
    assert_eq!(next(&mut source).count(), 2);
    // A connection gets them in batches.
    let mut decoder = Decoder::new(&context, "test").unwrap();
    decoder.push("{}\n".repeat(100_000).as_bytes());
    let mut total = 0;
    while let Some(rows) = decoder.next_rows().unwrap() {
        assert!(rows.batch.num_rows() * 64 <= 1 << 20, "{}", rows.batch.num_rows());
        total += rows.batch.num_rows();
    }
    assert_eq!((total, decoder.offset()), (100_000, 300_000));
}

#[test]
fn batches_of_text_end_at_the_same_rows_whatever_separates_them() {
    let mut options = wire(WireFormat::Csv);
    options.columns = Some(vec!["a".into(), "b".into()]);
    options.types = [("a".into(), ColumnType::F64), ("b".into(), ColumnType::F64)].into();
    let context = context(options);
    let (mut text, mut good, mut bad) = (String::new(), 0.0, 0);
    for row in 0..300_000 {
        match row % 7 {
            0 => text += "\n\r\n",
            1 => {
                text += "\"x\n\",2\n";
                bad += 1;
            }
            _ => {
                text += &format!("{row},\"2\"\n");
                good += f64::from(row);
            }
        }
    }
    let mut decoder = Decoder::new(&context, "test").unwrap();
    let (mut sum, mut count, mut rejected, mut last) = (0.0, 0, 0, 0);
    for piece in text.as_bytes().chunks(1 << 20) {
        decoder.push(piece);
        while let Some(rows) = decoder.next_rows().unwrap() {
            assert!(rows.count() <= 65_536);
            let column: &Float64Array = rows.batch.column(0).as_any().downcast_ref().unwrap();
            sum += column.values().iter().sum::<f64>();
            count += rows.batch.num_rows();
            rejected += rows.rejected_count();
            for bad in &rows.rejected {
                assert!(bad.line > last, "{bad}");
                last = bad.line;
            }
        }
    }
    assert_eq!((sum, rejected, decoder.offset()), (good, bad, text.len() as u64));
    assert_eq!(count as u64 + rejected, decoder.rows());
}

fn stream(column: ArrayRef, options: IpcWriteOptions) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable([("x", column, true)]).unwrap();
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn what_arrow_messages_claim_is_looked_at_before_it_is_believed() {
    let plain = IpcWriteOptions::default;
    let zstd = plain().try_with_compression(Some(CompressionType::ZSTD)).unwrap();
    let ends = |end: i32| Int32Array::from(vec![end]);
    let runs: RunArray<Int32Type> = RunArray::try_new(&ends(i32::MAX), &Float64Array::from(vec![1.0])).unwrap();
    let text = StringArray::from(vec!["x".repeat(1 << 20)]);
    let texts: RunArray<Int32Type> = RunArray::try_new(&ends(10_000), &text).unwrap();
    let claims = [
        stream(Arc::new(NullArray::new(1 << 40)), plain()),
        stream(Arc::new(runs), plain()),
        stream(Arc::new(texts), plain()),
        stream(Arc::new(Float64Array::from(vec![0.0; 20 << 20])), zstd),
    ];
    let kind = ("content-type", "application/vnd.apache.arrow.stream");
    for claim in claims {
        assert!(claim.len() < 2 << 20, "{}", claim.len());
        let context = context(wire(WireFormat::Arrow));
        let source = open(&context);
        let answer = send(source.address(), &post("/", &[kind], &claim));
        answer.refuses(413, &["bytes: send fewer rows in a message"]);
        let mut decoder = Decoder::new(&context, "test").unwrap();
        decoder.push(&claim);
        let rows = decoder.next_rows().unwrap().unwrap();
        assert_eq!((rows.batch.num_rows(), rows.rejected_count()), (0, 1));
        assert!(decoder.next_rows().unwrap_err().to_string().contains("send fewer rows"));
    }
}

#[test]
fn rows_without_a_time_are_counted_and_some_of_them_kept() {
    let mut options = wire(WireFormat::Arrow);
    options.time = Some(("x".into(), TimeUnit::Milliseconds));
    let context = context(options);
    let rows = 1 << 17;
    let times = (0..rows).map(|row| (row == 5).then_some(row));
    let times: TimestampNanosecondArray = times.collect();
    let mut decoder = Decoder::new(&context, "test").unwrap();
    decoder.push(&stream(Arc::new(times), IpcWriteOptions::default()));
    let given = decoder.next_rows().unwrap().unwrap();
    assert_eq!((given.batch.num_rows(), given.count()), (1, rows as u64));
    assert!(
        (1000..50_000).contains(&given.rejected.len()),
        "{}",
        given.rejected.len()
    );
}

#[test]
fn half_frames_share_the_memory_for_them() {
    let mut options = wire(WireFormat::Binary);
    options.columns = Some(vec!["a".into()]);
    let mut context = context(options);
    context.limits.held_bytes = 6 * MIB;
    // Those that get no memory are closed then; until then they are not read.
    context.limits.idle = Duration::from_secs(5);
    let mut source = TcpSource::open(&context, TcpOptions::plain(local())).unwrap();
    let address = source.address();
    let mut half = (16u32 << 20).to_le_bytes().to_vec();
    half.resize(12 << 20, 0);
    let half = Arc::new(half);
    let senders: Vec<_> = (0..10)
        .map(|_| {
            let half = half.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
                (stream.write_all(&half).is_ok(), stream)
            })
        })
        .collect();
    let streams: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    // All but the one that has the share of all came to a stop: each has taken what it has of its own.
    assert!(streams.iter().filter(|(whole, _)| *whole).count() <= 1);
    let bytes = context.counters.bytes.load(Ordering::Relaxed);
    assert!(bytes <= (12 + 9 * 2) * MIB, "{bytes}");
    drop(streams);
    let until = Instant::now() + PATIENCE;
    let mut rejected = 0;
    while rejected < 10 {
        assert!(Instant::now() < until);
        if let Read::Batch(rows, _) = source.read().unwrap() {
            rejected += rows.count();
        }
    }
    wait_for("the end of all", || {
        context.counters.connections.load(Ordering::Relaxed) == 0
    });
    // There is room again.
    let mut stream = TcpStream::connect(address).unwrap();
    let mut whole = (4u32 << 20).to_le_bytes().to_vec();
    whole.resize((4 << 20) + 4, 0);
    stream.write_all(&whole).unwrap();
    let mut good = 0;
    while good < 1 << 19 {
        assert!(Instant::now() < until + PATIENCE);
        if let Read::Batch(rows, _) = source.read().unwrap() {
            good += rows.batch.num_rows();
            rejected += rows.rejected_count();
        }
    }
    assert_eq!(rejected, 10, "each half is one bad row");
}

#[test]
fn bodies_that_are_only_announced_take_no_room() {
    let context = context(wire(WireFormat::Csv));
    let source = open(&context);
    let address = source.address();
    let liars: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = connect(address);
            let head = format!(
                "POST / HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
                64 * MIB
            );
            stream.write_all(head.as_bytes()).unwrap();
            // The server asks for the body: it has let it in.
            let answer = read_answer(&mut BufReader::new(stream.try_clone().unwrap())).unwrap();
            assert_eq!(answer.status, 100, "{answer:?}");
            stream.write_all(b"a\n").unwrap();
            stream
        })
        .collect();
    for _ in 0..10 {
        send(address, &post("/", &[], b"a\n1\n2\n")).took(2, 0);
    }
    drop(liars);
}

#[cfg(all(target_os = "linux", feature = "cli"))]
#[test]
fn a_body_of_tiny_chunks_takes_no_more_memory_than_it_has_bytes() {
    let mut running =
        crate::feed_strangers::Run::start("type = \"http\"\nformat = \"ndjson\"\nlisten = \"127.0.0.1:0\"", "");
    let address: SocketAddr = running.address("listens on http").parse().unwrap();
    let mut stream = connect(address);
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    let row = b"{\"x\": 1}\n";
    let chunks: Vec<u8> = row
        .iter()
        .flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n'])
        .collect();
    let block = chunks.repeat(1000);
    let blocks = 400;
    for _ in 0..blocks {
        stream.write_all(&block).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    read_answer(&mut BufReader::new(stream)).unwrap().took(1000 * blocks, 0);
    let peak = running.peak_bytes();
    // 3.6 MB of text; 100 bytes for each of its chunks were 360.
    assert!(peak < 250 * MIB, "{peak}");
    let (status, said) = running.end();
    assert!(
        status == 0 && said.contains("rows in 400000 = aggregated 400000"),
        "{said}"
    );
}
