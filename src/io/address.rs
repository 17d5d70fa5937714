//! Addresses of servers, `SCHEME://USER@HOST:PORT/PATH`, that have no password in them.
//!
//! What is wrong with an address may be a password in it, so no message quotes one.

use crate::error::{Error, Result};

/// The parts of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Whether its scheme asks for encryption.
    pub(super) is_encrypted: bool,
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// What is behind the first slash; empty where nothing is.
    pub(super) path: String,
}

impl Address {
    /// The parts of `url`, whose scheme is one of two: the second asks for encryption. Messages begin with `name`, and
    /// `example` says how an address looks.
    ///
    /// # Errors
    /// [`Error::Config`] for what is none, and for one with a password in it.
    pub(super) fn of(name: &str, url: &str, schemes: [&str; 2], example: &str) -> Result<Self> {
        let wrong = || Error::Config(format!("{name}: url is like {example}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        if !schemes.contains(&scheme) {
            return Err(wrong());
        }
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(Error::Config(format!(
                "{name}: the url has a password in it: name a file that holds it with password_file, or a variable with \
                 password_env"
            )));
        }
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (place, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || host.contains(['?', '#']) || path.contains(['?', '#', '/']) {
            return Err(wrong());
        }
        Ok(Self {
            is_encrypted: scheme == schemes[1],
            user: user.map(|user| decoded(user).ok_or_else(wrong)).transpose()?,
            host: host.to_owned(),
            port: port.map(str::parse).transpose().map_err(|_| wrong())?,
            path: decoded(path).ok_or_else(wrong)?,
        })
    }
}

/// Text in which `%2F` stands for a slash.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> Result<Address> {
        Address::of("x", url, ["amqp", "amqps"], "amqp://USER@HOST:PORT/VHOST")
    }

    #[test]
    fn an_address_has_its_parts() {
        for (url, is_encrypted, user, host, port, path) in [
            ("amqp://u@127.0.0.1:1/v", false, Some("u"), "127.0.0.1", Some(1), "v"),
            ("amqp://localhost", false, None, "localhost", None, ""),
            ("amqps://me%40home@h/%2fa", true, Some("me@home"), "h", None, "/a"),
            ("amqp://[::1]", false, None, "::1", None, ""),
            ("amqp://u@[::1]:7/", false, Some("u"), "::1", Some(7), ""),
        ] {
            let expected = Address {
                is_encrypted,
                user: user.map(str::to_owned),
                host: host.to_owned(),
                port,
                path: path.to_owned(),
            };
            assert_eq!(parts(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_none_is_not_quoted() {
        for url in [
            "nonsense",
            "http://localhost",
            "amqp://",
            "amqp://h:port",
            "amqp://h/v?password=secret",
            "amqp://u:secret@h",
            "amqp://u:se@cret@h",
            "amqp://%zz@h",
            "amqp://h/a/b",
        ] {
            let error = parts(url).unwrap_err().to_string();
            assert!(!error.contains("secret") && !error.contains("cret@"), "{error}");
        }
    }
}
