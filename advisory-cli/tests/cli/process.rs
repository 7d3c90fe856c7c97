//! The state of a process in Linux's `/proc`, and commands in a session of their own.

use std::fs;
use std::os::fd::OwnedFd;

use advisory_tests::Database;
use tokio::process::Command;

use crate::command::{ADVISORY, wait_until, with_url};

/// `advisory` as a service manager starts it: without a terminal.
pub(crate) fn without_terminal(database: &Database, arguments: &[&str]) -> Command {
    let mut command = Command::new("setsid");
    command.arg(ADVISORY);
    with_url(command, &database.url(), arguments)
}

/// A program, `advisory` itself or one that starts it, in the foreground of a terminal.
pub(crate) fn on_terminal(
    terminal: &OwnedFd,
    database: &Database,
    program: &[&str],
    arguments: &[&str],
) -> Command {
    let mut command = Command::new("setsid");
    command.arg("--ctty").args(program);
    let mut command = with_url(command, &database.url(), arguments);
    let end = || terminal.try_clone().unwrap();
    command.stdin(end()).stdout(end()).stderr(end());
    command
}

/// Waits until a process is in one of these states: `T` stopped, `S` asleep, ` ` gone, `Z` ended
/// and not yet reaped.
pub(crate) async fn wait_until_state(pid: &str, states: &str) {
    let what = format!("process {pid} is in one of the states {states:?}");
    wait_until(&what, || states.contains(state(pid))).await;
}

/// Whether a process is gone.
pub(crate) fn is_gone(pid: &str) -> bool {
    " Z".contains(state(pid))
}

fn state(pid: &str) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    after_name.chars().next().unwrap_or(' ')
}
