//! The connectors against real servers, which `scripts/services` has started; `scripts/connectors` starts these, runs the
//! tests of each, and ends them.

#![cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its functions too")]

#[expect(dead_code, reason = "of the integration tests, which use more of it")]
#[path = "../it/command.rs"]
mod command;
#[cfg(all(feature = "mqtt", feature = "postgres", feature = "rabbitmq"))]
mod examples;
#[expect(dead_code, reason = "of the integration tests, which use more of it")]
#[path = "../it/feed_support.rs"]
mod feed_support;
#[expect(dead_code, reason = "of the integration tests, which use more of it")]
#[path = "../it/http_client.rs"]
mod http_client;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(any(feature = "mqtt", feature = "rabbitmq"))]
mod messages;
#[cfg(feature = "mqtt")]
mod mqtt;
mod pages;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
mod readings;
#[cfg(feature = "redis")]
mod redis;
#[expect(dead_code, reason = "of the integration tests, which use more of it")]
#[path = "../it/runs.rs"]
mod runs;
mod server;
#[expect(dead_code, reason = "of the integration tests, which use more of it")]
#[path = "../it/support.rs"]
mod support;
