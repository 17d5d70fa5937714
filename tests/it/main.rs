//! The integration tests: one binary, so that everything is linked once.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its functions too")]

mod architecture;
mod backend_contract;
mod certified;
mod contract_mutants;
mod edges;
mod examples;
mod faulty_backend;
mod group_edges;
mod grouped;
mod ladder;
mod laws;
mod matrices;
mod nist;
mod oracle;
mod oracle_checks;
mod random;
mod same_bits;
mod stored;
mod support;
