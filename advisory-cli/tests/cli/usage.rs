//! The first minute: help, usage lines and mistakes.

use tokio::process::Command;

use crate::command::{ADVISORY, Outcome, assert_contains, command_with_url, output_of};

async fn advisory(arguments: &[&str]) -> Outcome {
    let mut command = Command::new(ADVISORY);
    command.args(arguments).env_remove("DATABASE_URL");
    output_of(command).await
}

const SUBCOMMANDS: [&str; 13] = [
    "ls",
    "tree",
    "key",
    "run",
    "hold",
    "lead",
    "explain",
    "setup",
    "doctor",
    "bench",
    "cancel",
    "terminate",
    "completions",
];

#[tokio::test]
async fn without_arguments_it_prints_its_help() {
    let help = advisory(&["-h"]).await;
    let with_a_database = output_of(command_with_url("postgres:///none", &[])).await;
    for bare in [advisory(&[]).await, with_a_database] {
        assert_eq!((bare.code, &*bare.stderr), (2, help.text()), "{bare:?}");
    }
    assert!(help.text().contains("Usage: advisory [OPTIONS] <COMMAND>"));
}

#[tokio::test]
async fn what_run_starts_is_in_no_list() {
    let mut texts = vec![advisory(&["--help"]).await.text().to_owned()];
    for arguments in [&["nothing"][..], &["die"], &["--database-url"], &[]] {
        texts.push(advisory(arguments).await.stderr);
    }
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        texts.push(advisory(&["completions", shell]).await.text().to_owned());
    }
    for text in texts {
        for hidden in ["die-with-parent", "detached", "advisory-hold"] {
            assert!(!text.contains(hidden), "`{hidden}` in {text}");
        }
    }
    assert_eq!(
        advisory(&["die-with-parent", "1", "--", "true"]).await.code,
        2
    );
}

#[tokio::test]
async fn a_usage_line_shows_what_may_be_left_out() {
    #[rustfmt::skip]
    let usages = [
        ("ls", "Usage: advisory ls [OPTIONS] [NAME]\n"),
        ("tree", "Usage: advisory tree [OPTIONS] [NAME]\n"),
        ("key", "Usage: advisory key [OPTIONS] <NAME>...\n"),
        (
            "run",
            "Usage: advisory run [OPTIONS] <NAME> [--] <COMMAND> [ARGUMENTS]...\n       advisory run \
             [OPTIONS] <NAME> --command <SCRIPT>\n",
        ),
        ("hold", "Usage: advisory hold [OPTIONS] <NAME>\n"),
        ("lead", "Usage: advisory lead [OPTIONS] <NAME> [--] <COMMAND> [ARGUMENTS]...\n"),
        ("explain", "Usage: advisory explain [OPTIONS] <NAME>\n"),
        ("setup", "Usage: advisory setup [OPTIONS]\n"),
        ("doctor", "Usage: advisory doctor [OPTIONS]\n"),
        ("bench", "Usage: advisory bench [OPTIONS]\n"),
        ("cancel", "Usage: advisory cancel [OPTIONS] <PID|--name <NAME>>\n"),
        ("terminate", "Usage: advisory terminate [OPTIONS] <PID|--name <NAME>>\n"),
        ("completions", "Usage: advisory completions [OPTIONS] <SHELL>\n"),
    ];
    for (subcommand, usage) in usages {
        assert!(SUBCOMMANDS.contains(&subcommand));
        for help in ["-h", "--help"] {
            let help = advisory(&[subcommand, help]).await;
            help.assert_silent(0);
            assert_contains(help.text(), &[usage]);
        }
        // Also in an error, whatever the environment has: `ls`, `tree`, `doctor` and others need
        // no argument.
        if usage.contains('<') {
            let mistake = output_of(command_with_url("postgres:///none", &[subcommand])).await;
            assert_contains(&mistake.stderr, &[usage]);
        }
    }
    let watch = advisory(&["ls", "-h"]).await;
    assert_contains(watch.text(), &["--watch[=<TIME>]"]);
}
