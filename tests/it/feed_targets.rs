//! Synthetic feeds on their way: over TCP, UDP and HTTP to small servers, at a rate, and to ends that go away.

use crate::feed_rows::{bytes, from_arrow, from_binary, from_csv, options};
use millstream::generate::{Delivery, Format, Options, Sent, Target, generate};
use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

/// Takes one connection and reads it to its end.
fn tcp_server() -> (Target, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::parse(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
        received
    });
    (target, reader)
}

fn send(options: &Options, delivery: &Delivery) -> Sent {
    generate(options, delivery, None).unwrap()
}

#[test]
fn a_tcp_connection_carries_what_a_file_holds() {
    let options = options(4, 20_000);
    for format in [Format::Csv, Format::Ndjson, Format::Binary] {
        for replay in [false, true] {
            let (target, reader) = tcp_server();
            let sent = send(
                &options,
                &Delivery {
                    format,
                    replay,
                    ..Delivery::new(target)
                },
            );
            assert_eq!(sent.rows, 20_000);
            assert!(reader.join().unwrap() == bytes(&options, format), "{format:?}");
            let last = sent.log.last().unwrap();
            assert_eq!(last.rows, 20_000);
            assert!(
                sent.log
                    .windows(2)
                    .all(|w| w[0].rows < w[1].rows || w[1].rows == 20_000)
            );
            assert!(sent.log.iter().all(|m| m.begun_ns <= m.taken_ns));
        }
    }
    let (target, reader) = tcp_server();
    send(
        &options,
        &Delivery {
            format: Format::Arrow,
            batch_rows: 777,
            ..Delivery::new(target)
        },
    );
    let want = from_csv(&bytes(&options, Format::Csv));
    assert_eq!(from_arrow(&reader.join().unwrap()), want);
}

#[test]
fn a_rate_is_kept() {
    // 400 rows at 2000 a second: the last message is due before 0.2 s, and not before 0.19 s.
    for format in [Format::Csv, Format::Arrow, Format::Binary] {
        let (target, reader) = tcp_server();
        let sent = send(
            &options(1, 400),
            &Delivery {
                format,
                rate: Some(2000.0),
                ..Delivery::new(target)
            },
        );
        assert!(
            sent.elapsed >= Duration::from_millis(190),
            "{format:?}: {:?}",
            sent.elapsed
        );
        // Not all at the end, either: messages of a few rows.
        assert!(sent.log.len() >= 100, "{format:?}: {} messages", sent.log.len());
        reader.join().unwrap();
    }
}

#[test]
fn frames_stay_below_what_receivers_take() {
    let wide = options(300, 2000);
    let feed = bytes(&wide, Format::Binary);
    let mut rest = &feed[..];
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        assert!(length <= 64 << 10, "a frame of {length} bytes");
        rest = &behind[length..];
    }
    assert_eq!(from_binary(&feed, 300, 8).len(), 2000);
    assert_eq!(from_arrow(&bytes(&wide, Format::Arrow)).len(), 2000);
}

#[test]
fn an_end_that_goes_away_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap().to_string());
    let closer = thread::spawn(move || drop(listener.accept().unwrap()));
    let error = generate(&options(8, 10_000_000), &Delivery::new(target), None).unwrap_err();
    assert!(error.to_string().contains("closed the connection when"), "{error}");
    assert_eq!(error.exit_code(), 1);
    closer.join().unwrap();

    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let error = generate(&options(1, 1), &Delivery::new(Target::Tcp(nobody.clone())), None).unwrap_err();
    assert!(error.to_string().contains(&format!("tcp://{nobody}")), "{error}");
    assert_eq!(error.exit_code(), 74);
}

#[test]
fn datagrams_are_whole() {
    for (format, datagram_bytes) in [(Format::Csv, 300), (Format::Binary, 500), (Format::Binary, 65_507)] {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let target = Target::parse(&format!("udp://{}", socket.local_addr().unwrap())).unwrap();
        // So few bytes that the socket's buffer holds them all.
        let options = options(3, 500);
        let want = from_csv(&bytes(&options, Format::Csv));
        let sent = send(
            &options,
            &Delivery {
                format,
                datagram_bytes,
                ..Delivery::new(target)
            },
        );
        let (mut rows, mut sizes) = (Vec::new(), Vec::new());
        let mut datagram = [0; 65_536];
        for _ in 0..sent.log.len() {
            let length = socket.recv(&mut datagram).unwrap();
            sizes.push(length);
            rows.extend(match format {
                Format::Csv => from_csv(&[b"ts,key,c0,c1,c2\n", &datagram[..length]].concat()),
                _ => from_binary(&datagram[..length], 3, 8),
            });
        }
        assert_eq!(rows, want, "{format:?}");
        assert!(sizes.iter().all(|size| *size <= datagram_bytes));
        // None could have taken the next row too.
        assert!(
            sizes[..sizes.len() - 1].iter().all(|size| size + 70 > datagram_bytes),
            "{sizes:?}"
        );
    }
    let target = Target::Udp("127.0.0.1:9".into());
    let error = generate(
        &options(3, 5),
        &Delivery {
            datagram_bytes: 20,
            ..Delivery::new(target)
        },
        None,
    )
    .unwrap_err();
    assert!(error.to_string().contains("--datagram-bytes 20"), "{error}");
}

#[test]
fn rows_are_added_to_a_file_that_has_some() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("feed.csv");
    let delivery = Delivery::new(Target::Append(path.clone()));
    send(&options(2, 3), &delivery);
    let first = std::fs::read(&path).unwrap();
    send(&options(2, 3), &delivery);
    let both = std::fs::read(&path).unwrap();
    let rows = from_csv(&both);
    assert_eq!(rows.len(), 6);
    assert_eq!(rows[..3], rows[3..]);
    assert!(both.starts_with(&first) && both.iter().filter(|b| **b == b't').count() == 1);
}

#[test]
fn what_makes_no_sense_is_refused_and_named() {
    let refused = |options: Options, delivery: Delivery, what: &str| {
        let error = generate(&options, &delivery, None).unwrap_err();
        assert!(
            error.exit_code() == 2 && error.to_string().contains(what),
            "{what}: {error}"
        );
    };
    let nowhere = || Delivery::new(Target::File("/nonexistent/feed".into()));
    let binary = || Delivery {
        format: Format::Binary,
        ..nowhere()
    };
    let one = || options(1, 10);
    refused(Options { bad_rows: 0.1, ..one() }, binary(), "--bad-rows");
    refused(Options { bad_rows: 1.1, ..one() }, nowhere(), "--bad-rows");
    refused(
        Options {
            duplicates: f64::NAN,
            ..one()
        },
        nowhere(),
        "--duplicates",
    );
    refused(
        Options {
            correlation: -1.5,
            ..one()
        },
        nowhere(),
        "--correlation",
    );
    refused(
        Options {
            columns: vec![],
            ..one()
        },
        nowhere(),
        "--columns",
    );
    refused(
        Options {
            columns: [options(1, 1).columns, options(1, 1).columns].concat(),
            ..one()
        },
        nowhere(),
        "`c0`",
    );
    refused(
        Options {
            step_ns: u64::MAX,
            ..one()
        },
        nowhere(),
        "--step",
    );
    let mut coarse = one();
    coarse.columns[0].mean = 1e15;
    refused(coarse, nowhere(), "--fraction-bits");
    refused(
        one(),
        Delivery {
            rate: Some(0.0),
            ..nowhere()
        },
        "--rate",
    );
    refused(
        one(),
        Delivery {
            batch_rows: 0,
            ..nowhere()
        },
        "--batch-rows",
    );
    let arrow = Delivery {
        format: Format::Arrow,
        ..Delivery::new(Target::Udp("127.0.0.1:9".into()))
    };
    refused(one(), arrow, "Arrow");
    assert_eq!(generate(&one(), &nowhere(), None).unwrap_err().exit_code(), 74);
}

#[cfg(feature = "net")]
mod http {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::SocketAddr;

    /// A request as it came: its head, and its body.
    #[derive(Debug, Clone)]
    struct Request {
        head: String,
        body: Vec<u8>,
        connection: usize,
    }

    impl Request {
        fn header(&self, name: &str) -> Option<&str> {
            let lines = self.head.lines().filter_map(|line| line.split_once(": "));
            lines
                .into_iter()
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        }
    }

    /// Answers request i with `answers[i]` (none: closes the connection without one) and every later one with 200, until
    /// so many were answered with 200.
    fn server(answers: Vec<Option<&'static str>>, good: usize) -> (SocketAddr, thread::JoinHandle<Vec<Request>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let (mut requests, mut taken) = (Vec::<Request>::new(), 0);
            for connection in 0.. {
                let stream = listener.accept().unwrap().0;
                let mut reader = BufReader::new(stream);
                loop {
                    let mut head = String::new();
                    while reader.read_line(&mut head).unwrap() > 2 {}
                    if head.is_empty() {
                        break;
                    }
                    let mut request = Request {
                        head,
                        body: Vec::new(),
                        connection,
                    };
                    let length: u64 = request.header("content-length").unwrap().parse().unwrap();
                    (&mut reader).take(length).read_to_end(&mut request.body).unwrap();
                    let answer = answers.get(requests.len()).copied().unwrap_or(Some("200 OK\r\n"));
                    requests.push(request);
                    let Some(answer) = answer else { break };
                    let text = format!("HTTP/1.1 {answer}Content-Length: 2\r\n\r\nno");
                    reader.get_mut().write_all(text.as_bytes()).unwrap();
                    taken += usize::from(answer.starts_with("200"));
                    if taken == good || answer.starts_with("401") {
                        return requests;
                    }
                }
            }
            requests
        };
        (address, thread::spawn(serve))
    }

    fn to(address: SocketAddr, format: Format) -> Delivery {
        Delivery {
            format,
            batch_rows: 1000,
            token: Some("secret".into()),
            ..Delivery::new(Target::Http(format!("http://{address}/main")))
        }
    }

    #[test]
    fn bodies_are_whole_and_share_a_connection() {
        let options = options(3, 4500);
        let want = from_csv(&bytes(&options, Format::Csv));
        for (format, kind) in [
            (Format::Csv, "text/csv"),
            (Format::Arrow, "application/vnd.apache.arrow.stream"),
            (Format::Binary, "application/octet-stream"),
        ] {
            let (address, serving) = server(vec![], 5);
            let sent = send(&options, &to(address, format));
            let requests = serving.join().unwrap();
            assert_eq!((sent.log.len(), requests.len()), (5, 5));
            let mut rows = Vec::new();
            for request in &requests {
                assert!(request.head.starts_with("POST /main HTTP/1.1\r\n"), "{}", request.head);
                assert_eq!(request.header("content-type"), Some(kind));
                assert_eq!(request.header("authorization"), Some("Bearer secret"));
                assert_eq!(request.connection, 0);
                rows.push(match format {
                    Format::Csv => from_csv(&request.body),
                    Format::Arrow => from_arrow(&request.body),
                    _ => from_binary(&request.body, 3, 8),
                });
            }
            assert_eq!(
                rows.iter().map(Vec::len).collect::<Vec<_>>(),
                [1000, 1000, 1000, 1000, 500]
            );
            assert_eq!(rows.concat(), want);
            let mut keys: Vec<_> = requests.iter().map(|r| r.header("idempotency-key").unwrap()).collect();
            keys.dedup();
            assert_eq!(keys.len(), 5);
        }
    }

    #[test]
    fn a_body_is_sent_again_until_it_is_taken() {
        let full = "429 Too Many Requests\r\nRetry-After: 0\r\n";
        let answers = vec![
            Some(full),
            Some(full),
            None,
            Some("200 OK\r\n"),
            Some("503 Service Unavailable\r\n"),
        ];
        let (address, serving) = server(answers, 2);
        let options = options(1, 2000);
        send(&options, &to(address, Format::Csv));
        let requests = serving.join().unwrap();
        let keys: Vec<_> = requests.iter().map(|r| r.header("idempotency-key").unwrap()).collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
        assert!(
            keys[..4].iter().all(|key| *key == keys[0]) && keys[4] == keys[5] && keys[3] != keys[4],
            "{keys:?}"
        );
        assert!(requests[..4].iter().all(|request| request.body == requests[0].body));
        let rows = [&requests[3].body, &requests[5].body]
            .map(|body| from_csv(body))
            .concat();
        assert_eq!(rows, from_csv(&bytes(&options, Format::Csv)));
    }

    #[test]
    fn retry_after_is_waited_for() {
        let (address, serving) = server(vec![Some("429 Too Many Requests\r\nRetry-After: 1\r\n")], 1);
        let sent = send(&options(1, 10), &to(address, Format::Csv));
        assert!(sent.elapsed >= Duration::from_secs(1), "{:?}", sent.elapsed);
        assert_eq!(serving.join().unwrap().len(), 2);
    }

    #[test]
    fn a_refusal_is_told_without_the_token_and_absence_is_not_waited_for_forever() {
        let (address, serving) = server(vec![Some("401 Unauthorized\r\n")], 1);
        let error = generate(&options(1, 10), &to(address, Format::Csv), None).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("status 401") && text.contains("no") && !text.contains("secret"),
            "{text}"
        );
        serving.join().unwrap();

        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let delivery = Delivery {
            retry: Duration::from_millis(300),
            ..to(nobody, Format::Csv)
        };
        let error = generate(&options(1, 10), &delivery, None).unwrap_err();
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert_eq!(error.exit_code(), 1);
    }
}
