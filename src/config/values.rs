//! The values of a configuration that many keys have: durations, sizes, words and addresses.

use crate::error::{Error, Result};
use crate::units;
use std::net::SocketAddr;
use std::time::Duration;

pub(super) fn config(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Config(format!("{what}: {why}"))
}

/// A duration that may be 0.
pub(super) fn duration_ns(what: &str, text: Option<&str>, default: i64) -> Result<i64> {
    match text.map(str::trim) {
        None => Ok(default),
        Some("0" | "0s" | "0ms" | "0m" | "0h" | "0d" | "0us" | "0ns") => Ok(0),
        Some(text) => units::duration_ns(text).map_err(|e| config(what, e)),
    }
}

pub(super) fn duration(what: &str, text: Option<&str>, default: Duration) -> Result<Duration> {
    let ns = duration_ns(what, text, i64::try_from(default.as_nanos()).unwrap_or(i64::MAX))?;
    Ok(Duration::from_nanos(ns.unsigned_abs()))
}

/// A duration of which none would be no sense.
pub(super) fn some_time(what: &str, text: Option<&str>, default: Duration) -> Result<Duration> {
    let duration = duration(what, text, default)?;
    at_least_one(what, !duration.is_zero(), duration, "longer than 0")
}

pub(super) fn size_bytes(what: &str, text: Option<&str>, default: u64) -> Result<u64> {
    let bytes = text.map_or(Ok(default), |text| units::size_bytes(text).map_err(|e| config(what, e)))?;
    at_least_one(what, bytes > 0, bytes, "at least 1 byte, such as \"1MiB\"")
}

pub(super) fn at_least_one<T>(what: &str, fits: bool, value: T, least: &str) -> Result<T> {
    match fits {
        true => Ok(value),
        false => Err(config(what, format!("0 makes no sense here: it has to be {least}"))),
    }
}

/// Refuses options that are there and would do nothing.
pub(super) fn without(place: &str, why: &str, options: &[(&str, bool)]) -> Result<()> {
    match options.iter().find(|(_, is_there)| *is_there) {
        Some((option, _)) => Err(config(&format!("{place}{option}"), format!("{why}: remove it"))),
        None => Ok(()),
    }
}

/// One of some words.
pub(super) fn word<T: Copy>(what: &str, text: Option<&str>, words: &[(&str, T)], default: T) -> Result<T> {
    let Some(text) = text else { return Ok(default) };
    let found = words.iter().find(|(word, _)| *word == text);
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| config(what, format!("`{text}` is none of {}", all.join(", "))))
}

/// The address of a page.
pub(super) fn page(what: &str, url: Option<&str>) -> Result<String> {
    let url = url.ok_or_else(|| config(what, "a feed of this type needs the url to ask"))?;
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match rest.is_some_and(|rest| !rest.starts_with(['/', '?', '#', ':']) && !rest.is_empty()) {
        true => Ok(url.to_owned()),
        // It may hold a secret, so it is not shown.
        false => Err(config(what, "it is no address such as http://127.0.0.1:8000/latest")),
    }
}

pub(super) fn address(what: &str, text: &str) -> Result<SocketAddr> {
    let text = text
        .strip_prefix("localhost:")
        .map_or(text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse()
        .map_err(|_| config(what, format!("`{text}` is no address such as 127.0.0.1:7400")))
}
