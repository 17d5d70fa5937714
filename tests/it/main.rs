//! The integration tests: one binary, so that everything is linked once.

#[cfg(feature = "cli")]
mod analyze_real;
mod architecture;
#[cfg(feature = "cli")]
mod command;
mod nist;
mod oracle;
mod oracle_checks;
mod random;
