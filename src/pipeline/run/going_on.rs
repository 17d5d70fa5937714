//! What a run that goes on from a checkpoint has to have in common with the one that took it.

use crate::alert::AlertRule;
use crate::checkpoint::{Checkpoint, Store};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::spec::Spec;

/// What a checkpoint must have been made for: rows, windows and statistics as they are configured, and what the engine
/// keeps for them and for the alerts, in its precision.
pub(super) fn fingerprint(config: &Config) -> Result<String> {
    let rules = rules(config)?;
    Ok(format!("{}\n{:?}", config.fingerprint, engine_spec(config, &rules)))
}

/// The checkpoint to go on from.
pub(super) fn recall(
    config: &Config,
    store: &mut Store,
    discard: bool,
    say: &mut dyn FnMut(&str),
) -> Result<Option<Checkpoint>> {
    if discard {
        store.discard()?;
    }
    let (before, notes) = store.load()?;
    notes.iter().for_each(|note| say(note));
    let Some(before) = before else { return Ok(None) };
    let names: Vec<&str> = before.feeds.iter().map(|feed| feed.name.as_str()).collect();
    if before.fingerprint != fingerprint(config)? || names != config.feed_names() {
        return Err(Error::Config(
            "the state was made with other feeds, [rows], [window], [statistics] or precision, or with alerts that need \
             other statistics: put them back, or begin anew with --discard-state"
                .into(),
        ));
    }
    Ok(Some(before))
}

/// The conditions of the alerts.
pub(super) fn rules(config: &Config) -> Result<Vec<AlertRule>> {
    let rule = |alert: &crate::config::AlertConfig| AlertRule::new(&alert.name, &alert.when, alert.for_windows);
    config.alerts.iter().map(rule).collect()
}

/// Whether a checkpoint knows how far every file and sink of this run was written: one that it does not know has to get
/// into the next before anything is written to it, as nothing would cut it back after a crash.
pub(super) fn knows_outputs(checkpoint: &Checkpoint, config: &Config) -> bool {
    let mut files = config.late_path.iter().chain(&config.limits.quarantine);
    let mut sinks = config.sinks.iter().map(|sink| sink.name());
    files.all(|path| checkpoint.length(path).is_some())
        && sinks.all(|name| checkpoint.sinks.iter().any(|(of, _)| *of == name))
}

/// The statistics that are asked for, and what the alerts need beside them.
pub(super) fn engine_spec(config: &Config, rules: &[AlertRule]) -> Spec {
    let mut spec = config.spec.clone();
    for needs in rules.iter().map(AlertRule::needs) {
        spec.covariance |= needs.comoments && !spec.correlation;
        spec.differences |= needs.differences;
        if needs.quantiles && spec.quantiles.is_empty() {
            // Any probability has the sketches kept.
            spec.quantiles = vec![0.5];
        }
    }
    spec
}
