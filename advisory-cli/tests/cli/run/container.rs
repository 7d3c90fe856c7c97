//! `run` as the first process of a container, and where nobody reaps orphans.

use advisory_tests::{Database, print_notice};
use tokio::process::Command;

use crate::command::{ADVISORY, Running, run_script, with_url};
use crate::process::without_terminal;

/// `advisory` as process 1 of a PID namespace, without a terminal. `None` where the system gives no
/// namespace.
fn as_process_1(database: &Database, arguments: &[&str]) -> Option<Command> {
    let namespace = ["--pid", "--fork", "--kill-child", "--mount-proc"];
    let mut probe = std::process::Command::new("unshare");
    let probe = probe.args(namespace).arg("true").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        print_notice("skipped: `unshare` cannot make a PID namespace here");
        return None;
    }
    let mut command = Command::new("setsid");
    command.arg("unshare").args(namespace).arg(ADVISORY);
    Some(with_url(command, &database.url(), arguments))
}

#[tokio::test]
async fn process_1_reaps_orphans_while_the_command_runs() {
    let database = Database::new().await;
    let script = "\
        for i in 1 2 3; do sh -c 'true & echo orphan'; done
        while grep -q '^State:.Z' /proc/[0-9]*/status 2>/dev/null; do sleep 0.02; done
        echo reaped; exit 7";
    let Some(command) = as_process_1(&database, &run_script(&[], script)) else {
        return;
    };
    let mut run = Running::start(command);
    for _ in 0..3 {
        assert_eq!(run.line().await, "orphan");
    }
    assert_eq!(run.line().await, "reaped");
    run.end().await.assert_silent(7);
}

#[tokio::test]
async fn a_subreaper_reaps_orphans_while_the_command_runs() {
    let wrapper = "import ctypes, os, sys
PR_SET_CHILD_SUBREAPER = 36
if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0: sys.exit('no prctl')
os.execv(sys.argv[1], sys.argv[1:])";
    let python = std::process::Command::new("python3").arg("-V").output();
    if python.is_err() || !cfg!(target_os = "linux") {
        return print_notice("skipped: a subreaper needs Linux, and Python makes one");
    }
    let database = Database::new().await;
    let script = "\
        for i in 1 2 3; do
            orphan=$(sh -c 'true & echo $!')
            while [ -e /proc/$orphan ]; do sleep 0.02; done
            echo reaped
        done; exit 7";
    let mut command = Command::new("setsid");
    command.args(["python3", "-c", wrapper, ADVISORY]);
    let command = with_url(command, &database.url(), &run_script(&[], script));
    let mut run = Running::start(command);
    for _ in 0..3 {
        assert_eq!(run.line().await, "reaped");
    }
    run.end().await.assert_silent(7);
}

#[tokio::test]
async fn process_1_ends_after_a_loss_as_soon_as_the_command_has_ended() {
    let database = Database::new().await;
    // The orphan is in the process group of the command.
    let script = "sh -c 'sleep 3600 &'; echo ready; exec cat";
    let arguments = run_script(&["--grace", "3600"], script);
    let Some(command) = as_process_1(&database, &arguments) else {
        return;
    };
    let run = Running::ready(command).await;
    database.terminate_lockers().await;
    run.fails(76, "the command was ended").await;
}

#[tokio::test]
async fn a_zombie_that_nobody_reaps_is_not_alive() {
    if std::process::Command::new("perl")
        .arg("-v")
        .output()
        .is_err()
    {
        return print_notice("skipped: there is no Perl, which moves a process to another group");
    }
    let database = Database::new().await;
    // Outside the process group of the command, a process keeps a zombie that is inside.
    let script = r#"
        $| = 1; my $group = $$;
        if (!fork) {
            setpgrp 0, 0;
            my $child = fork;
            if (!$child) { setpgrp 0, $group; exit }
            sub state { open my $stat, "/proc/$child/stat"; (<$stat> =~ /\) (\w)/)[0] }
            select undef, undef, undef, 0.01 until state() eq "Z";
            print "ready\n"; close STDOUT; close STDERR; <STDIN>; exit;
        }
        sleep 3600;"#;
    let arguments = ["run", "a", "--grace", "3600", "--", "perl", "-e", script];
    let run = Running::ready(without_terminal(&database, &arguments)).await;
    database.terminate_lockers().await;
    run.fails(76, "the command was ended").await;
}
