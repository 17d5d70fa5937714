//! The integration tests: one binary, so that everything is linked once.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails, in its functions too")]

#[cfg(feature = "cli")]
mod analyze_real;
mod architecture;
#[cfg(feature = "cli")]
mod arguments;
mod backend_contract;
#[cfg(feature = "cli")]
mod bad_input;
mod bench;
#[cfg(unix)]
mod bench_gate;
mod certified;
#[cfg(feature = "cli")]
mod command;
mod contract_mutants;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod crashes;
mod edges;
#[cfg(feature = "cli")]
mod exact_keys;
mod examples;
mod faulty_backend;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod feed_crashes;
mod feed_expect;
mod feed_files;
mod feed_laws;
#[cfg(feature = "net")]
mod feed_memory;
mod feed_model;
#[cfg(feature = "cli")]
mod feed_parts;
mod feed_rows;
mod feed_sockets;
#[cfg(all(unix, feature = "cli", feature = "net"))]
mod feed_strangers;
mod feed_support;
mod feed_targets;
mod feed_windows;
mod fitting;
#[cfg(feature = "cli")]
mod formats;
#[cfg(all(target_os = "linux", feature = "cli", feature = "net", feature = "sqlite"))]
mod full_disk;
#[cfg(feature = "cli")]
mod generating;
#[cfg(feature = "gpu")]
mod gpu_agreement;
#[cfg(feature = "gpu")]
mod gpu_counts;
#[cfg(feature = "gpu")]
mod gpu_files;
#[cfg(feature = "gpu")]
mod gpu_judge;
#[cfg(feature = "gpu")]
mod gpu_losses;
#[cfg(feature = "gpu")]
mod gpu_mutants;
#[cfg(feature = "gpu")]
mod gpu_shaders;
#[cfg(feature = "gpu")]
mod gpu_shapes;
mod group_edges;
mod grouped;
#[cfg(feature = "cli")]
mod html_page;
#[cfg(feature = "net")]
mod http_client;
#[cfg(feature = "net")]
mod http_feed;
#[cfg(feature = "net")]
mod http_journal;
#[cfg(feature = "net")]
mod http_polling;
#[cfg(feature = "net")]
mod http_rows;
#[cfg(all(feature = "cli", feature = "net"))]
mod http_rules;
#[cfg(feature = "net")]
mod http_tls;
#[cfg(feature = "cli")]
mod input_notes;
mod integers;
mod ladder;
mod laws;
mod learning;
mod losses;
mod machine;
mod magnitudes;
mod matrices;
#[cfg(all(feature = "cli", feature = "sqlite"))]
mod merging;
#[cfg(feature = "net")]
mod monitor;
mod narrow;
mod nist;
mod online;
mod oracle;
mod oracle_checks;
#[cfg(feature = "cli")]
mod overwriting;
mod precise;
#[cfg(feature = "cli")]
mod predicting;
mod random;
#[cfg(feature = "cli")]
mod refusals;
#[cfg(feature = "cli")]
mod report_forms;
mod resident_rows;
mod rolling;
mod rolling_bits;
mod row_by_row;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod run_faults;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod run_feeds;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod run_limits;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod run_outputs;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod run_refusals;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod run_resuming;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod run_rows;
#[cfg(all(unix, feature = "cli", feature = "net", feature = "sqlite"))]
mod running;
#[cfg(all(unix, feature = "cli", feature = "net"))]
mod runs;
mod same_bits;
#[cfg(feature = "cli")]
mod shell;
#[cfg(feature = "cli")]
mod side_files;
mod stored;
mod support;
#[cfg(feature = "cli")]
mod terminal;
#[cfg(feature = "cli")]
mod times;
#[cfg(feature = "cli")]
mod transforming;
mod wide_rows;
mod window_model;
