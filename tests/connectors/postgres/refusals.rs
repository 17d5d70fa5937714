//! What a PostgreSQL refuses, or is not let do, in words; and whom it lets in.

use super::*;

#[test]
fn what_is_wrong_is_said_before_a_row_is_taken() {
    let (place, database) = (Place::new(), Database::new());
    place.write("feed.csv", "ts,key,c0,c1,c2\n1,1,1,1,1\n");
    place.write("wrong", "not the password\n");
    // Takes connections and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("postgresql://millstream@{}/x", mute.local_addr().unwrap());
    let url = database.url();
    let missing = url.replace(&database.name, "no_such_database");
    let nobody = "postgresql://millstream@127.0.0.1:1/x";
    let password = database.server.path("password");
    let password = password.display();
    for (url, password, more, words) in [
        (
            url.as_str(),
            "wrong".to_owned(),
            "",
            "does not let in `millstream` with this password",
        ),
        (&missing, password.to_string(), "", "no database `no_such_database`"),
        (nobody, password.to_string(), "", "refused"),
        (&mute, password.to_string(), "", "is it PostgreSQL?"),
        (
            "postgresql://u@192.0.2.1/x",
            password.to_string(),
            "",
            "insecure = true",
        ),
        (
            "postgresql://u:secret@127.0.0.1/x",
            password.to_string(),
            "",
            "password_file",
        ),
        (
            "nonsense",
            password.to_string(),
            "",
            "postgresql://USER@HOST:PORT/DATABASE",
        ),
    ] {
        let config = format!(
            "feed = {{ type = \"file\", path = \"feed.csv\" }}\n{ROWS}[[sink]]\ntype = \"postgres\"\nurl = \"{url}\"\n\
             password_file = \"{password}\"\n{more}"
        );
        place.write("run.toml", config);
        for command in ["run", "validate"] {
            let ran = place.run(&[command, "run.toml"]);
            ran.fails(78, &[words]);
            assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        }
    }
}

#[test]
fn without_a_password_the_option_for_it_is_named() {
    let (place, database) = (with_rows(), Database::new());
    configured(&place, &database, "");
    let config = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let lines = config.lines().filter(|line| !line.starts_with("password_file"));
    place.write("run.toml", lines.collect::<Vec<_>>().join("\n"));
    let mut command = place.command(&["run", "run.toml"]);
    let ran = command.env_remove("PGPASSWORD").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(78) && said.contains("PGPASSWORD"), "{said}");
    let ran = command
        .env("PGPASSWORD", database.server.says("password"))
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    is_right(&place, "out.ndjson");
}

/// An index of PostgreSQL takes some 2,700 bytes.
#[test]
fn a_key_that_is_too_long_is_said_to_be() {
    let (place, database) = (Place::new(), Database::new());
    // Nothing in it repeats, so that it cannot be made shorter.
    let mut number = 1_u64;
    let mut letters = || {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + (number >> 33) as u8 % 26)
    };
    let key: String = (0..20_000).map(|_| letters()).collect();
    place.write("feed.csv", format!("ts,key,c0,c1,c2\n1,{key},1,1,1\n"));
    configured(&place, &database, "");
    place
        .run(&["run", "run.toml"])
        .fails(74, &["key of a report", "too long"]);
}

#[test]
fn a_certificate_is_trusted_if_its_authority_is() {
    let (place, mut database) = (with_rows(), Database::new());
    configured(&place, &database, "");
    let plain = std::fs::read_to_string(place.path("run.toml")).unwrap();
    let with = |authority: &std::path::Path| {
        let sink = format!("type = \"postgres\"\nca_file = \"{}\"\n", authority.display());
        plain.replace("type = \"postgres\"\n", &sink)
    };
    // Another server's authority has not signed this one's certificate.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    place.write("other.pem", other.cert.pem());
    place.write("run.toml", with(&place.path("other.pem")));
    place.run(&["run", "run.toml"]).fails(78, &["certificate"]);
    place.write("run.toml", with(&database.server.path("ca.pem")));
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    is_right(&place, "out.ndjson");
    assert!(!database.rows("feed", "windows").is_empty());
}
