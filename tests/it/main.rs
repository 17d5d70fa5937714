//! The integration tests: one binary, so that everything is linked once.

mod nist;
mod oracle;
mod oracle_checks;
mod random;
