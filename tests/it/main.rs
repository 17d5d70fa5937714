//! The integration tests: one binary, so that everything is linked once.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where")]

#[cfg(feature = "cli")]
mod analyze_real;
mod architecture;
#[cfg(feature = "cli")]
mod bad_input;
#[cfg(feature = "cli")]
mod command;
mod examples;
#[cfg(feature = "cli")]
mod formats;
#[cfg(feature = "cli")]
mod html_page;
mod nist;
mod oracle;
mod oracle_checks;
mod random;
#[cfg(feature = "cli")]
mod refusals;
#[cfg(feature = "cli")]
mod report_forms;
#[cfg(feature = "cli")]
mod shell;
