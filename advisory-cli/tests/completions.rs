//! `advisory completions`.

mod outcome;

use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::outcome::{Outcome, command, run};

async fn completions(shell: &str) -> Outcome {
    // It needs no server.
    run(command(
        "postgres://nobody@localhost:1",
        &["completions", shell],
    ))
    .await
}

#[tokio::test]
async fn every_shell_has_a_script_that_knows_the_subcommands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = completions(shell).await;
        assert_eq!((script.code, &*script.stderr), (Some(0), ""), "{shell}");
        for subcommand in ["doctor", "bench", "cancel", "terminate", "completions"] {
            assert!(
                script.stdout.contains(subcommand),
                "{subcommand} in {shell}"
            );
        }
    }
}

#[tokio::test]
async fn bash_completes_a_subcommand_with_it() {
    let script = completions("bash").await.stdout;
    let ask = "\nCOMP_WORDS=(advisory doc); COMP_CWORD=1; _advisory advisory doc advisory; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all((script + ask).as_bytes()).await.unwrap();
    drop(stdin);
    let answer = bash.wait_with_output().await.unwrap().stdout;
    assert_eq!(String::from_utf8(answer).unwrap().trim(), "doctor");
}

#[tokio::test]
async fn an_unknown_shell_brings_the_list() {
    let refused = completions("csh").await;
    assert_eq!(refused.code, Some(2));
    assert!(
        refused
            .stderr
            .contains("bash, elvish, fish, powershell, zsh")
    );
}
