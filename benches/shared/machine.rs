//! What a page of results says of the machine and the versions, and the value in the middle of several.

use std::process::Command;

/// The command under measurement.
pub(crate) const MILLSTREAM: &str = env!("CARGO_BIN_EXE_millstream");

/// The value in the middle; 0 without any.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value at this share of all, the next higher one.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (share * values.len() as f64).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

pub(crate) fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map(|model| model.trim_start_matches([' ', '\t', ':']).to_owned());
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a command prints, or nothing.
pub(crate) fn printed(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).output();
    output.map_or(String::new(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

pub(crate) fn system() -> String {
    printed("uname", &["-sr"])
}

pub(crate) fn version() -> String {
    let version = printed(MILLSTREAM, &["--version"]);
    match printed("git", &["describe", "--always", "--dirty"]).as_str() {
        "" => version,
        commit => format!("{version} ({commit})"),
    }
}
