//! The integration tests: one binary, so that everything is linked once.

mod architecture;
mod examples;
mod nist;
mod oracle;
mod oracle_checks;
mod random;
