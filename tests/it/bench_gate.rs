//! `scripts/bench-gate` fails where it should: on counts that are written here.

use std::path::Path;
use std::process::Command;

/// Whether it passes, and what it says, with these counts recorded and those counted.
fn compare(recorded: &str, counted: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.tsv"), folder.path().join("new.tsv"));
    std::fs::write(&old, recorded).unwrap();
    std::fs::write(&new, counted).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bench-gate");
    let output = Command::new(script).arg("--compare").args([old, new]).output().unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(),
    )
}

const RECORDED: &str = "# valgrind-1, rustc 1, avx2\nm/a, f64\t1000\t10\nm/b\t2000\t10\n";

#[test]
fn five_percent_more_pass_and_a_little_more_than_that_fail() {
    let counted = |b: u32| {
        compare(
            RECORDED,
            &format!("# valgrind-1, rustc 2, avx2\nm/a, f64\t900\t10\nm/b\t{b}\t10\n"),
        )
    };
    let (passes, text) = counted(2100);
    assert!(passes && text.contains("over 5 % fewer instructions: 1"), "{text}");
    assert!(text.contains("recorded: valgrind-1, rustc 1, avx2"), "{text}");
    let (passes, text) = counted(2101);
    assert!(!passes && text.contains("over 5 % more instructions: 1"), "{text}");
    let grown: Vec<&str> = text.lines().filter(|line| line.ends_with("MORE")).collect();
    assert!(grown.len() == 1 && grown[0].starts_with("m/b "), "{text}");
}

#[test]
fn a_case_that_is_new_or_gone_fails_and_so_do_other_kernels() {
    let a = "# valgrind-1, rustc 1, avx2\nm/a, f64\t1000\t10\n";
    for (recorded, counted, what) in [(RECORDED, a, "GONE"), (a, RECORDED, "NEW")] {
        let (passes, text) = compare(recorded, counted);
        assert!(!passes && text.contains(what), "{text}");
        assert!(
            text.contains("new or gone since the recording: 1 (scripts/bench-gate --record"),
            "{text}"
        );
    }
    let (passes, text) = compare(RECORDED, &RECORDED.replace("avx2", "avx512"));
    assert!(
        !passes && text.contains("kernels for avx512 beside those for avx2"),
        "{text}"
    );
    assert!(compare(RECORDED, RECORDED).0);
}

#[test]
fn counts_that_are_not_there_fail() {
    for counted in [
        "",
        "# v, r, avx2\n",
        "m/a\t1\t1\n",
        "# v, r, avx2\nm/a\t\t1\n",
        "# v, r, avx2\nm/a\t0\t1\n",
    ] {
        let (passes, text) = compare("# v, r, avx2\n", counted);
        assert!(
            !passes && (text.contains("no count") || text.contains("no case was counted")),
            "{counted:?}: {text}"
        );
    }
}
