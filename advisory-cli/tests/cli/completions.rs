//! `advisory completions`.

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::command::{Outcome, assert_contains, command_with_url, output_of};

async fn completions(shell: &str) -> Outcome {
    // No server is needed.
    output_of(command_with_url(
        "postgres://nobody@localhost:1",
        &["completions", shell],
    ))
    .await
}

#[tokio::test]
async fn the_script_of_every_shell_has_the_subcommands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = completions(shell).await;
        assert_eq!((script.code, &*script.stderr), (0, ""), "{shell}");
        let subcommands = ["doctor", "bench", "cancel", "terminate", "completions"];
        assert_contains(script.text(), &subcommands);
    }
}

#[tokio::test]
async fn bash_completes_a_subcommand() {
    let script = completions("bash").await;
    let complete = "\nCOMP_WORDS=(advisory doc); COMP_CWORD=1; _advisory advisory doc advisory; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin
        .write_all((script.text().to_owned() + complete).as_bytes())
        .await
        .unwrap();
    drop(stdin);
    let answer = bash.wait_with_output().await.unwrap().stdout;
    assert_eq!(String::from_utf8(answer).unwrap().trim(), "doctor");
}

#[tokio::test]
async fn an_unknown_shell_is_an_error_that_lists_the_shells() {
    let refused = completions("csh").await;
    assert_eq!(refused.code, 2);
    assert_contains(&refused.stderr, &["bash, elvish, fish, powershell, zsh"]);
}
