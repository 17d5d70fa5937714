//! Rows over TCP and UDP on this machine: many senders, rude senders, and a reader that stops.

use crate::feed_support::{PATIENCE, Seen, context, wait_for, wire};
use millstream::io::live::{ColumnType, Context, WireFormat};
use millstream::io::tcp::{TcpOptions, TcpSource};
use millstream::io::udp::UdpSource;
use millstream::io::{Read as Got, Source};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// Connections at once in the short form of the test.
const CONNECTIONS: usize = 200;

fn local() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn listen(context: &Context) -> TcpSource {
    TcpSource::open(context, TcpOptions::plain(local())).unwrap()
}

fn refused(context: &Context) -> u64 {
    context.counters.refused.load(Ordering::Relaxed)
}

fn open_now(context: &Context) -> u64 {
    context.counters.connections.load(Ordering::Relaxed)
}

/// The columns `a` and `b`, settled.
fn settled(format: WireFormat) -> Context {
    let mut wire = wire(format);
    wire.columns = Some(vec!["a".into(), "b".into()]);
    wire.types = [("a".into(), ColumnType::F64), ("b".into(), ColumnType::F64)].into();
    context(wire)
}

#[test]
fn rows_of_many_connections_are_all_there() {
    let context = settled(WireFormat::Csv);
    let mut source = listen(&context);
    let address = source.address();
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for row in 0..10_000 {
                    writeln!(stream, "{sender},{row}").unwrap();
                }
            })
        })
        .collect();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 40_000);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    context.stop.stop();
    seen.read(&mut source, |_| false);
    // Each sender's rows come in their order.
    for sender in 0..4 {
        let prefix = format!("a={sender}.0 ");
        let own: Vec<_> = seen
            .rows
            .iter()
            .filter(|row| row.starts_with(&prefix))
            .cloned()
            .collect();
        let want: Vec<_> = (0..10_000).map(|row| format!("{prefix}b={row}.0")).collect();
        assert_eq!(own, want);
    }
    assert_eq!((seen.rows.len(), seen.bad.len()), (40_000, 0));
    assert_eq!(open_now(&context), 0);
    assert!(matches!(source.read().unwrap(), Got::End));
}

#[test]
fn a_lone_row_is_not_kept_waiting_and_half_a_row_is_rejected() {
    let context = context(wire(WireFormat::Csv));
    let mut source = listen(&context);
    let mut stream = TcpStream::connect(source.address()).unwrap();
    let peer = stream.local_addr().unwrap();
    let mut seen = Seen::default();
    stream.write_all(b"a,b\n1,2\n").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    stream.write_all(b"3,4\n5,").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 2);
    drop(stream);
    seen.read(&mut source, |seen| seen.bad.len() == 1);
    assert_eq!(seen.rows, ["a=1.0 b=2.0", "a=3.0 b=4.0"]);
    assert_eq!(
        (seen.bad[0].source.as_str(), seen.bad[0].line),
        (format!("tcp {peer}").as_str(), 4)
    );
    assert_eq!(seen.bad[0].row, b"5,");
    // The next one is matched by name, and one that lacks a column is refused with the reason.
    let mut stream = TcpStream::connect(source.address()).unwrap();
    stream.write_all(b"b,c,a\n1,x,2\n").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 3);
    assert_eq!(seen.rows[2], "a=2.0 b=1.0");
    let mut lacking = TcpStream::connect(source.address()).unwrap();
    lacking.write_all(b"b,c\n1,2\n").unwrap();
    seen.read(&mut source, |seen| seen.bad.len() == 2);
    assert!(seen.bad[1].reason.contains("no column `a`"), "{}", seen.bad[1]);
    wait_for("the refusal", || refused(&context) == 1);
    lacking.set_read_timeout(Some(PATIENCE)).unwrap();
    // Closed from the other side: an end, or a reset as rows were left unread.
    assert!(matches!(lacking.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn idle_connections_disturb_nobody_and_one_too_many_is_refused() {
    let mut context = settled(WireFormat::Csv);
    context.limits.connections = CONNECTIONS + 1;
    let mut source = listen(&context);
    let idle: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(source.address()).unwrap())
        .collect();
    wait_for("the connections", || open_now(&context) == CONNECTIONS as u64);
    let mut busy = TcpStream::connect(source.address()).unwrap();
    busy.write_all(b"1,2\n").unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    let mut refused_one = TcpStream::connect(source.address()).unwrap();
    refused_one.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(refused_one.read(&mut [0]), Ok(0) | Err(_)));
    wait_for("the refusal", || refused(&context) == 1);
    busy.write_all(b"3,4\n").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 2);
    // Told to stop, it does not wait for them.
    context.stop.stop();
    seen.read(&mut source, |_| false);
    assert_eq!((seen.rows.len(), seen.bad.len()), (2, 0));
    drop(idle);
}

#[test]
fn silent_and_slow_senders_are_closed() {
    let mut context = settled(WireFormat::Csv);
    context.limits.idle = Duration::from_millis(300);
    let mut source = listen(&context);
    let silent = TcpStream::connect(source.address()).unwrap();
    let slow = TcpStream::connect(source.address()).unwrap();
    let mut writer = slow.try_clone().unwrap();
    // A byte now and then, and never a line.
    let dribble = thread::spawn(move || {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && writer.write_all(b"1").is_ok() {
            thread::park_timeout(Duration::from_millis(20));
        }
    });
    for mut stream in [silent, slow] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match stream.read(&mut [0]) {
            Ok(0) => {}
            Err(e) => assert!(e.kind() == std::io::ErrorKind::ConnectionReset, "{e}"),
            Ok(_) => panic!("nothing is ever sent back"),
        }
    }
    dribble.join().unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.bad.len() == 1);
    assert!(seen.bad[0].row.iter().all(|b| *b == b'1'));
    wait_for("both refusals", || refused(&context) == 2);
}

#[test]
fn a_full_channel_stops_the_sender() {
    let context = settled(WireFormat::Binary);
    let mut source = listen(&context);
    let address = source.address();
    // 64 MiB: more than the buffers of two sockets and the channel hold.
    let rows_of_frame = 4096;
    let frames = 1024;
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = sent.clone();
    let sender = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for frame in 0..frames {
            let mut bytes = (16u32 * rows_of_frame).to_le_bytes().to_vec();
            for row in 0..rows_of_frame {
                bytes.extend(f64::from(frame).to_le_bytes());
                bytes.extend(f64::from(row).to_le_bytes());
            }
            stream.write_all(&bytes).unwrap();
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    // It comes to a stop: for as long as nothing is read, in the end nothing more is sent.
    let mut last = (usize::MAX, Instant::now());
    let deadline = Instant::now() + PATIENCE;
    while last.1.elapsed() < Duration::from_secs(1) {
        assert!(Instant::now() < deadline);
        let now = sent.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        thread::park_timeout(Duration::from_millis(10));
    }
    assert!(last.0 < frames as usize, "all of it was taken");
    let mut rows = 0;
    let deadline = Instant::now() + PATIENCE;
    while rows < (frames * rows_of_frame) as usize {
        assert!(Instant::now() < deadline);
        if let Got::Batch(got, _) = source.read().unwrap() {
            assert!(got.rejected.is_empty());
            rows += got.batch.num_rows();
        }
    }
    sender.join().unwrap();
    assert_eq!(rows, (frames * rows_of_frame) as usize);
}

#[test]
fn a_token_is_asked_for() {
    let context = settled(WireFormat::Csv);
    let mut options = TcpOptions::plain(local());
    options.token = Some(Arc::new(|value: &[u8]| value == b"secret"));
    let mut source = TcpSource::open(&context, options).unwrap();
    for (first, wrong) in [("1,2\n", 1), ("token other\n1,2\n", 2), ("tokensecret\n", 3)] {
        let mut stream = TcpStream::connect(source.address()).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        wait_for("the refusal", || refused(&context) == wrong);
    }
    let mut stream = TcpStream::connect(source.address()).unwrap();
    stream.write_all(b"token secret\r\n1,2\n3,").unwrap();
    let mut seen = Seen::default();
    seen.read(&mut source, |seen| seen.rows.len() == 1);
    stream.write_all(b"4\n").unwrap();
    seen.read(&mut source, |seen| seen.rows.len() == 2);
    assert_eq!(seen.rows, ["a=1.0 b=2.0", "a=3.0 b=4.0"]);
    assert_eq!(seen.bad, []);
}

#[test]
fn what_has_arrived_before_the_stop_is_read() {
    let context = settled(WireFormat::Csv);
    let mut source = listen(&context);
    let mut stream = TcpStream::connect(source.address()).unwrap();
    let text = "1,2\n".repeat(50_000);
    stream.write_all(text.as_bytes()).unwrap();
    drop(stream);
    wait_for("the connection", || context.counters.bytes.load(Ordering::Relaxed) > 0);
    context.stop.stop();
    assert_eq!(Seen::to_end(&mut source).rows.len(), 50_000);
}

#[test]
fn datagrams_hold_whole_records() {
    let mut wire = wire(WireFormat::Csv);
    wire.columns = Some(vec!["a".into(), "b".into()]);
    let context = context(wire);
    let mut source = UdpSource::open(&context, local()).unwrap();
    let socket = UdpSocket::bind(local()).unwrap();
    socket.connect(source.address()).unwrap();
    let mut seen = Seen::default();
    for (i, datagram) in ["1,2\n3,4", "5,6\n", "7,\"8\n9,10\n", "11,x\n\"12\",13"]
        .iter()
        .enumerate()
    {
        socket.send(datagram.as_bytes()).unwrap();
        // One after the other, so that none is lost in between.
        seen.read(&mut source, |seen| seen.rows.len() + seen.bad.len() == [2, 3, 4, 6][i]);
    }
    assert_eq!(
        seen.rows,
        ["a=1.0 b=2.0", "a=3.0 b=4.0", "a=5.0 b=6.0", "a=12.0 b=13.0"]
    );
    let rows: Vec<_> = seen.bad.iter().map(|bad| bad.row.as_slice()).collect();
    assert_eq!(rows, [&b"7,\"8\n9,10\n"[..], b"11,x"]);
    assert!(
        seen.bad
            .iter()
            .all(|bad| bad.source == format!("udp {}", source.address()))
    );
    context.stop.stop();
    seen.read(&mut source, |_| false);
    assert!(seen.ended);
}

#[test]
fn datagrams_that_nobody_takes_are_counted() {
    let context = settled(WireFormat::Binary);
    let mut source = UdpSource::open(&context, local()).unwrap();
    let socket = UdpSocket::bind(local()).unwrap();
    socket.connect(source.address()).unwrap();
    let mut frame = 16u32.to_le_bytes().to_vec();
    frame.extend([0; 16]);
    // Nobody reads: the channel fills, and then rows are dropped.
    let dropped = || context.counters.dropped_rows.load(Ordering::Relaxed);
    let bytes = || context.counters.bytes.load(Ordering::Relaxed);
    let mut sent = 0;
    while dropped() == 0 {
        socket.send(&frame).unwrap();
        sent += 1;
        wait_for("the datagram", || bytes() == 20 * sent);
    }
    context.stop.stop();
    let seen = Seen::to_end(&mut source);
    assert_eq!(seen.rows.len() as u64 + dropped(), sent);
}
