//! Who may send rows over HTTP: tokens, certificates, and addresses that others can reach.

use crate::http_client::{connect, is_closed, post, read_answer, send};
use crate::http_rows::{context, end, loopback};
use millstream::Error;
use millstream::io::http::{HttpOptions, HttpSource};
use millstream::io::tls::{Security, Tls, Token};
use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const TOKEN: &str = "correct-horse-battery-staple";

#[test]
fn only_those_with_the_token_are_heard() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, format!("{TOKEN}\nmore\n")).unwrap();
    let security = Security {
        token: Some(Token::from_file(&file).unwrap()),
        ..Security::default()
    };
    let context = context();
    let mut source = HttpSource::open(&context, loopback(security), None).unwrap();
    assert!(!format!("{source:?}").contains(TOKEN));
    let with = |value: &str| send(source.address(), &post("/", &[("authorization", value)], b"a\n1\n"));
    let wrong = [
        format!("Bearer {}", &TOKEN[1..]),
        format!("Bearer {TOKEN}x"),
        TOKEN.to_owned(),
        format!("Basic {TOKEN}"),
        "Bearer".into(),
        String::new(),
    ];
    for value in wrong {
        let answer = with(&value);
        answer.refuses(401, &["Authorization"]);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(!answer.body.contains(TOKEN));
    }
    send(source.address(), &post("/", &[], b"a\n1\n")).refuses(401, &[]);
    with(&format!("Bearer {TOKEN}")).took(1, 0);
    with(&format!("bearer  {TOKEN} ")).took(1, 0);
    assert_eq!(end(&context, &mut source).rows.len(), 2);
}

#[test]
fn tls_with_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key, wrong] = ["cert.pem", "key.pem", "other.pem"].map(|name| directory.path().join(name));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&wrong, other.signing_key.serialize_pem()).unwrap();
    for (certificate, key, said) in [
        (&certificate, &wrong, "cannot be used"),
        (&key, &key, "certificate"),
        (&certificate, &certificate, "private key"),
    ] {
        let error = Tls::from_files(certificate, key).unwrap_err();
        assert!(
            matches!(error, Error::Config(_)) && error.to_string().contains(said),
            "{error}"
        );
    }
    let security = Security {
        tls: Some(Tls::from_files(&certificate, &key).unwrap()),
        ..Security::default()
    };
    let mut context = context();
    context.limits.idle = Duration::from_secs(1);
    let mut source = HttpSource::open(&context, loopback(security), None).unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(client, connect(source.address()));
    stream.write_all(&post("/", &[], b"a\n1\n")).unwrap();
    read_answer(&mut BufReader::new(&mut stream)).unwrap().took(1, 0);

    // Who speaks no TLS, or nothing at all, is let go.
    let mut plain = connect(source.address());
    plain.write_all(&post("/", &[], b"a\n1\n")).unwrap();
    assert!(is_closed(plain));
    assert!(is_closed(connect(source.address())));
    assert_eq!(end(&context, &mut source).rows, [[1.0]]);
}

#[test]
fn an_address_that_others_can_reach_needs_protection() {
    let listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let options = |insecure| HttpOptions {
        listen,
        security: Security {
            insecure,
            ..Security::default()
        },
    };
    let error = HttpSource::open(&context(), options(false), None).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    for part in ["`main`", "0.0.0.0:0", "TLS", "token_file", "insecure = true"] {
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    }
    let security = options(true).security;
    let warning = security.check("feed `main`", listen).unwrap().unwrap();
    assert!(
        warning.contains("0.0.0.0:0") && warning.contains("insecure"),
        "{warning}"
    );
    assert!(
        Security::default()
            .check("feed", SocketAddr::from(([127, 0, 0, 9], 1)))
            .unwrap()
            .is_none()
    );
    assert!(
        Security::default()
            .check("feed", "[::1]:1".parse().unwrap())
            .unwrap()
            .is_none()
    );
    assert!(Security::default().check("feed", "[::]:1".parse().unwrap()).is_err());
}
