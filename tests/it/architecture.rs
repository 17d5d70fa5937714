//! The direction rules: who may import whom, and who may touch threads, clocks, files and the GPU.
//!
//! The sources are read as text, without comments and without their tests (`mod tests`, `tests.rs` and what is below
//! `tests/`), which may use what they like. The rules are the tables below; `docs/ARCHITECTURE.md` says them in prose.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Lines of a source file: a reader holds so much in mind, and a file that grows beyond it holds two things.
const LINES_MAX: usize = 500;

/// `(module, what it may import from this crate)`; a module speaks for the files below it. Every module may use itself,
/// [`EVERYWHERE`], and of the rest only modules above it in this table: so there are no circles. A module that is not
/// listed may not exist.
const EDGES: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("summary", &[]),
    ("spec", &["summary"]),
    ("regression", &["spec", "summary"]),
    ("report", &["regression", "spec", "summary"]),
    ("bytes", &["summary"]),
    ("units", &["spec"]),
    ("batch", &[]),
    ("expr", &["batch"]),
    ("buffers", &[]),
    ("metrics", &[]),
    ("io", &["batch", "buffers", "metrics", "report", "spec", "summary"]),
    ("alert", &["expr", "report", "spec", "summary"]),
    ("merge", &["io", "report", "spec", "summary"]),
    ("cells", &["batch"]),
    ("backend", &["batch", "cells", "spec", "summary"]),
    ("planner", &["spec", "summary"]),
    (
        "machine",
        &[
            "backend", "batch", "cells", "io", "planner", "report", "spec", "summary",
        ],
    ),
    (
        "bench",
        &["backend", "batch", "machine", "planner", "report", "spec", "summary"],
    ),
    ("window", &["spec", "summary"]),
    ("checkpoint", &[]),
    (
        "engine",
        &[
            "backend",
            "batch",
            "buffers",
            "cells",
            "checkpoint",
            "planner",
            "regression",
            "report",
            "spec",
            "summary",
            "window",
        ],
    ),
    (
        "fit",
        &["backend", "batch", "engine", "regression", "report", "spec", "summary"],
    ),
    (
        "transform",
        &[
            "backend", "batch", "buffers", "cells", "engine", "spec", "summary", "units",
        ],
    ),
    ("learner", &["backend", "batch", "engine", "spec", "summary"]),
    ("online", &["batch", "engine", "report", "spec"]),
    ("predictor", &["batch", "regression", "report", "spec", "summary"]),
    ("config", &["engine", "expr", "io", "spec", "units"]),
    (
        "pipeline",
        &[
            "alert",
            "backend",
            "batch",
            "checkpoint",
            "config",
            "engine",
            "expr",
            "fit",
            "io",
            "metrics",
            "planner",
            "predictor",
            "report",
            "spec",
            "summary",
            "transform",
            "window",
        ],
    ),
    // Nothing of the engine: its expectations are an oracle.
    ("generate", &["io", "units"]),
    (
        "cli",
        &[
            "alert",
            "backend",
            "batch",
            "bench",
            "checkpoint",
            "config",
            "engine",
            "expr",
            "fit",
            "generate",
            "io",
            "machine",
            "merge",
            "metrics",
            "pipeline",
            "planner",
            "predictor",
            "regression",
            "report",
            "spec",
            "summary",
            "transform",
            "units",
            "window",
        ],
    ),
];

/// What every module may import: the errors, also by the names that the root gives them.
const EVERYWHERE: &[&str] = &["error", "Error", "Result"];

/// `(what, words that give it away, paths below src/ where they may stand)`; a path ending in `*` is a prefix.
const ONLY_IN: &[(&str, &[&str], &[&str])] = &[
    ("the GPU", &["wgpu"], &["backend/gpu*"]),
    ("rayon", &["rayon"], &["backend/cpu*", "cells.rs", "io.rs", "io/*"]),
    (
        "threads and channels",
        &["std::thread", "thread::", "crossbeam", "mpsc"],
        &[
            "pipeline.rs",
            "pipeline/run*",
            "backend/gpu/ring*",
            "generate/pace.rs",
            "io.rs",
            "io/*",
            // The live view waits from one look to the next; signals are waited for.
            "cli/top.rs",
            "cli/run.rs",
        ],
    ),
];

/// `(where, what, words that give it away)`: what must not stand there; a path ending in `*` is a prefix.
const NOWHERE_IN: &[(&[&str], &str, &[&str])] = &[
    (
        &["engine*", "window*", "planner*", "summary*"],
        "a clock",
        &["Instant", "SystemTime", "std::time", "jiff::Zoned", "Timestamp::now"],
    ),
    (
        &["engine*", "window*", "planner*", "summary*"],
        "input or output",
        &[
            "std::fs",
            "std::net",
            "std::io",
            "File::",
            "TcpStream",
            "println!",
            "eprintln!",
            "crate::io",
        ],
    ),
    (
        &["summary/*"],
        "anything but std and derived serialisation",
        &[
            "arrow",
            "rayon",
            "pulp",
            "bytemuck",
            "serde_json",
            "crossbeam",
            "hashbrown",
            "crc32fast",
            "jiff",
            "gemm",
        ],
    ),
];

#[derive(Debug)]
struct Source {
    /// Below `src/`, with `/`.
    path: String,
    text: String,
    /// The text without comments and without `mod tests`, line by line.
    code: Vec<String>,
}

impl Source {
    /// The first part of the path without its ending: `backend` for `backend/gpu/ring.rs`.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// Lines, from 1, that hold one of these as whole words.
    fn lines_with<'a>(&'a self, words: &'a [&str]) -> impl Iterator<Item = (usize, &'a str)> {
        let found = |line: &str| words.iter().any(|word| holds(line, word));
        self.code
            .iter()
            .enumerate()
            .filter(move |(_, line)| found(line))
            .map(|(i, line)| (i + 1, line.as_str()))
    }
}

/// Whether `line` holds `word` with no letter, digit or underscore to either side.
fn holds(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let open = |c: Option<char>| !c.is_some_and(part_of_name);
        open(before) && (open(after) || word.ends_with(':'))
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut paths = Vec::new();
    files_below(&src, &mut paths);
    paths.retain(|path| path.extension().is_some_and(|e| e == "rs"));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let below = path.strip_prefix(&src).expect("found below src");
        Source {
            path: below
                .components()
                .map(|c| c.as_os_str().to_string_lossy())
                .collect::<Vec<_>>()
                .join("/"),
            code: if below.ends_with("tests.rs") || below.components().any(|c| c.as_os_str() == "tests") {
                Vec::new()
            } else {
                code(&text)
            },
            text,
        }
    };
    paths.iter().map(read).collect()
}

/// The lines without their comments; from the test module on (the last item of a file) they are empty.
fn code(text: &str) -> Vec<String> {
    let mut in_tests = false;
    let mut after_cfg_test = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        in_tests |= after_cfg_test && line.trim_start().starts_with("mod ");
        after_cfg_test = line.trim() == "#[cfg(test)]";
        let kept = line.split("//").next().unwrap_or_default();
        lines.push(if in_tests { String::new() } else { kept.to_owned() });
    }
    lines
}

fn matches(path: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == *pattern,
    })
}

/// The modules of this crate that a piece of code names: `crate::x`, and every name of `crate::{x, y::z}`.
fn crate_modules(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = BTreeSet::new();
    for (at, word) in code.match_indices("crate::") {
        let rest = &code[at + word.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.insert(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (i, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && !c.is_whitespace() => {
                    found.insert(name(&list[i..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

/// Panics with every breach at once: a reader wants the list, not the first.
fn none(breaches: &[String]) {
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn imports_go_in_one_direction() {
    let mut breaches = Vec::new();
    let modules: BTreeSet<&str> = EDGES.iter().map(|(module, _)| *module).collect();
    for source in sources().iter().filter(|s| !matches(&s.path, &["lib.rs", "main.rs"])) {
        let Some((_, allowed)) = EDGES.iter().find(|(module, _)| *module == source.module()) else {
            breaches.push(format!("src/{}: no rule says what it may import", source.path));
            continue;
        };
        for used in crate_modules(&source.code.join("\n")) {
            let used = used.as_str();
            if used == source.module() || allowed.contains(&used) || EVERYWHERE.contains(&used) {
                continue;
            }
            breaches.push(if modules.contains(used) {
                format!("src/{}: may not import crate::{used}", source.path)
            } else {
                format!("src/{}: crate::{used} hides its module, name that", source.path)
            });
        }
    }
    none(&breaches);
}

#[test]
fn what_has_its_place_stays_there() {
    let mut breaches = Vec::new();
    for source in &sources() {
        for (what, words, places) in ONLY_IN {
            if !matches(&source.path, places) {
                for (number, line) in source.lines_with(words) {
                    breaches.push(format!(
                        "src/{}:{number}: {what} only in {places:?}: {}",
                        source.path,
                        line.trim()
                    ));
                }
            }
        }
        for (places, what, words) in NOWHERE_IN {
            if matches(&source.path, places) {
                for (number, line) in source.lines_with(words) {
                    breaches.push(format!(
                        "src/{}:{number}: {what} has no place here: {}",
                        source.path,
                        line.trim()
                    ));
                }
            }
        }
    }
    none(&breaches);
}

#[test]
fn every_file_says_what_it_is_and_is_short() {
    let mut breaches = Vec::new();
    for source in &sources() {
        if !source.text.starts_with("//! ") {
            breaches.push(format!("src/{} does not begin with //! and what it is", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            breaches.push(format!("src/{} has {lines} lines, more than {LINES_MAX}", source.path));
        }
    }
    none(&breaches);
}

#[test]
fn the_rules_see_what_breaks_them() {
    assert!(holds("use std::thread;", "std::thread") && holds("thread::spawn(f)", "thread::"));
    assert!(holds("let t = Instant::now();", "Instant") && !holds("Instantaneous", "Instant"));
    assert!(!holds("narrow(x)", "arrow") && holds("use arrow::array;", "arrow"));
    let text = "use crate::{a::{b, c}, d,\n    e as f};\nuse crate::g::H; // crate::i\n#[cfg(test)]\nmod tests {\n use crate::j;\n}\n";
    let found = crate_modules(&code(text).join("\n"));
    assert_eq!(
        found.iter().map(String::as_str).collect::<Vec<_>>(),
        ["a", "d", "e", "g"]
    );
    assert!(matches("io/csv.rs", &["io/*"]) && matches("io.rs", &["io.rs"]) && !matches("engine.rs", &["io/*"]));
    let modules: Vec<&str> = EDGES.iter().map(|(module, _)| *module).collect();
    for (i, (module, allowed)) in EDGES.iter().enumerate() {
        for used in *allowed {
            assert!(
                modules[..i].contains(used),
                "{module} may import {used}, which is not above it"
            );
        }
    }
}

#[test]
fn the_architecture_page_names_every_file() {
    let page = root().join("docs/ARCHITECTURE.md");
    let page = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
    let part_of_path = |c: char| c.is_alphanumeric() || "_/.".contains(c);
    let named: BTreeSet<&str> = page
        .split(|c| !part_of_path(c))
        .filter(|word| word.starts_with("src/") && word.ends_with(".rs"))
        .collect();
    let paths: BTreeSet<String> = sources().iter().map(|s| format!("src/{}", s.path)).collect();
    let unnamed = paths.iter().filter(|path| !named.contains(path.as_str()));
    let gone = named.iter().filter(|name| !paths.contains(**name));
    let breaches: Vec<String> = unnamed
        .map(|path| format!("docs/ARCHITECTURE.md does not name {path}"))
        .chain(gone.map(|name| format!("docs/ARCHITECTURE.md names {name}, which does not exist")))
        .collect();
    none(&breaches);
}
