//! The checker accepts what the locks do under faults, and finds every fault that is seeded.

use std::path::Path;
use std::process::{Command, Output};

fn soak(arguments: &[&str]) -> Output {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    soak.args(arguments).output().expect("it can be run")
}

/// A short run of a small fleet, whose history is written to `file`.
fn short(file: &Path, arguments: &[&str]) -> Output {
    let file = file.to_str().expect("the path is text");
    let is_quiet = arguments.contains(&"--without-faults");
    let minutes = if is_quiet { "0.05" } else { "0.06" };
    let size = ["--minutes", minutes, "--processes", "2", "--tasks", "16"];
    let keys = ["--connections", "8", "--keys", "3", "--history", file];
    soak(&[&size[..], &keys, arguments].concat())
}

fn text(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!(
        "{}\n{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(errors)
    )
}

/// The checker finds a fault. The calls that it names are, among others, those with the fault.
fn is_found(seeded: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    // A busy machine may keep the clients with the fault apart.
    for _ in 0..3 {
        let run = short(&file, &["--seeded", seeded]);
        let checked = soak(&["check", file.to_str().unwrap()]);
        let verdict = text(&checked);
        if checked.status.code() == Some(1) {
            assert!(!run.status.success(), "{}", text(&run));
            let mut calls = verdict.lines().filter(|line| line.starts_with("  client "));
            assert!(calls.any(|call| call.contains(seeded)), "{verdict}");
            return;
        }
        assert!(checked.status.success(), "{verdict}");
    }
    panic!("not found: {seeded}");
}

#[test]
fn a_short_run_under_faults_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let run = short(&file, &[]);
    assert!(run.status.success(), "{}", text(&run));
    let checked = soak(&["check", file.to_str().unwrap()]);
    let verdict = text(&checked);
    assert!(checked.status.success(), "{verdict}");
    assert!(verdict.contains(" 0 refused, 0 undecided"), "{verdict}");
}

/// Without faults, each call that succeeds proves something, also on a `LockSession`.
#[test]
fn a_short_run_without_faults_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let run = short(&folder.path().join("history.jsonl"), &["--without-faults"]);
    assert!(run.status.success(), "{}", text(&run));
}

#[test]
fn what_the_history_does_not_show_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    let seeded = ["--seeded", "left-lock", "--seeded", "unknown-error"];
    let run = short(&file, &[&["--without-faults"], &seeded[..]].concat());
    let verdict = text(&run);
    assert_eq!(run.status.code(), Some(1), "{verdict}");
    let violation = "VIOLATION unexpected error: unknown-error: ";
    assert!(verdict.contains(violation), "{verdict}");
    for check in [
        "processes that leak locks or transactions",
        "errors that no fault explains",
    ] {
        let mut rows = verdict.lines().filter(|line| line.contains(check));
        let is_found = rows.any(|row| !row.ends_with(" 0 |"));
        assert!(is_found, "{check}: {verdict}");
    }
}

#[test]
fn unlocking_before_the_work_has_ended_is_found() {
    is_found("early-unlock");
}

#[test]
fn working_on_after_a_loss_on_another_session_is_found() {
    is_found("ignored-loss");
}

#[test]
fn a_token_that_is_used_twice_is_found() {
    is_found("reused-token");
}

#[test]
fn a_permit_too_many_is_found() {
    is_found("extra-permit");
}

#[test]
fn what_is_no_history_has_an_exit_code_of_its_own() {
    let missing = soak(&["check", "/nonexistent"]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
}
