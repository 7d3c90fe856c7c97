//! `hold --detach`: the lock is held by another process, which this one starts.
//!
//! A process with threads cannot be forked, so the program is started again, with the same
//! arguments. Once the new process holds the lock, it prints a line to this one, which then ends.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, stderr};
use std::os::fd::AsFd as _;
use std::process::{Child, ExitCode, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Failure, exit_code};
use crate::output;
use crate::role::{self, Role};

/// Starts the process that holds the lock, and prints its process id once the lock is held. If it
/// ends before, its exit code is returned, and it has said why.
pub(super) fn start() -> Result<ExitCode, Failure> {
    let failure = |error| Failure::other(format!("cannot start a process for the lock: {error}"));
    // If SIGCHLD was ignored when this process started, the exit code would be lost.
    let _ended = signal(SignalKind::child()).map_err(failure)?;
    let mut holder = spawn().map_err(failure)?;
    let mut line = String::new();
    if let Some(output) = holder.stdout.take() {
        // An error is as the end of the output.
        let _ = BufReader::new(output).read_line(&mut line);
    }
    if line.is_empty() {
        return holder.wait().map(exit_code).map_err(failure);
    }
    output::print_line(holder.id())
        .inspect_err(|_| {
            // Nobody knows its process id. It releases the lock and removes its pid file.
            end(&mut holder);
        })
        .map(|()| ExitCode::SUCCESS)
}

fn end(holder: &mut Child) {
    let pid = holder.id().try_into().map(Pid::from_raw);
    if pid.is_ok_and(|pid| kill(pid, Signal::SIGTERM).is_ok()) {
        // If it cannot be waited for, it ends all the same.
        let _ = holder.wait();
    }
}

fn spawn() -> io::Result<Child> {
    let mut holder = role::command(&role::program()?, Role::Detached);
    holder.args(role::arguments());
    holder.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
}

/// Makes this process independent of the terminal and of the process group of its parent. Until
/// [`let_go`], it ends if its parent is killed.
pub(super) fn begin() -> Result<(), Failure> {
    // This fails only for the leader of a process group, which has no terminal to leave.
    let _ = nix::unistd::setsid();
    if role::end_with_parent(Signal::SIGTERM) {
        return Ok(());
    }
    Err(Failure::silent())
}

/// From now on, this process does not end with its parent. Standard error is closed unless it is a
/// file: what waits for its end, as `$(…)` and cron do, would wait for the release of the lock.
pub(super) fn let_go() -> Result<(), Failure> {
    role::outlive_parent();
    let failure = |error| Failure::other(format!("cannot close standard error: {error}"));
    let is_file = stderr().as_fd().try_clone_to_owned().map(File::from);
    let is_file = is_file.and_then(|file| file.metadata());
    if is_file.is_ok_and(|metadata| metadata.is_file()) {
        return Ok(());
    }
    let null = OpenOptions::new().write(true).open("/dev/null");
    let null = null.map_err(failure)?;
    rustix::stdio::dup2_stderr(&null).map_err(|error| failure(error.into()))
}
