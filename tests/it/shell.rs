//! What a shell and its user ask of the command: help with examples, the version, completions.

use crate::command::Place;

#[test]
fn every_subcommand_has_help_with_an_example() {
    let place = Place::new();
    let help = place.run(&["--help"]);
    assert_eq!(help.status, 0);
    let listed = help.text().lines().skip_while(|line| *line != "Commands:").skip(1);
    let names: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|name| *name != "help")
        .collect();
    assert!(
        names.contains(&"analyze") && names.contains(&"completions"),
        "{names:?}"
    );
    for name in names {
        let help = place.run(&[name, "--help"]);
        assert_eq!((help.status, help.stderr.as_str()), (0, ""));
        let text = help.text();
        let (_, examples) = text
            .split_once("Example")
            .unwrap_or_else(|| panic!("{name} --help has no example"));
        assert!(examples.contains(&format!("\n  millstream {name} ")), "{examples}");
        assert!(text.contains("--log-format"), "{text}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let place = Place::new();
    let want = format!("millstream {}\n", env!("CARGO_PKG_VERSION"));
    for args in [&["--version"][..], &["-V"]] {
        let outcome = place.run(args);
        assert_eq!((outcome.status, outcome.text()), (0, want.as_str()));
    }
}

#[test]
fn completions_are_scripts_that_know_the_options() {
    let place = Place::new();
    for (shell, mark) in [
        ("bash", "complete -F _millstream"),
        ("zsh", "#compdef millstream"),
        ("fish", "complete -c millstream"),
    ] {
        let outcome = place.run(&["completions", shell]);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""));
        for part in [mark, "analyze", "regress", "quantiles", "max-memory"] {
            assert!(outcome.text().contains(part), "{shell} lacks {part}");
        }
    }
    place
        .run(&["completions", "cmd"])
        .fails(2, &["cmd", "bash", "zsh", "fish"]);
}
