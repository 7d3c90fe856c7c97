//! The benchmark program runs. Its figures are not checked: no duration decides a test.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_bench"));
    bench.args(arguments).output().expect("it can be run")
}

#[test]
fn every_case_runs() {
    let output = bench(&["--smoke"]);
    let (output_text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{output_text}\n{errors}");
    let list = bench(&["--list"]);
    let names = String::from_utf8_lossy(&list.stdout);
    let abouts: Vec<_> = names.lines().filter_map(|line| line.get(13..)).collect();
    assert!(abouts.len() > 10, "{names}");
    for about in abouts {
        assert!(
            output_text.contains(&format!("## {about}\n")),
            "{about}\n{output_text}"
        );
    }
    assert!(output_text.contains("## Must reach\n"), "{output_text}");
}

/// The figures of the page are of one run.
#[test]
fn page_cannot_be_written_from_some_cases_only() {
    assert!(!bench(&["--only", "scheme", "--write"]).status.success());
}
