//! The process that `run` starts, before it becomes the command.
//!
//! A process can only ask for itself to be killed together with its parent. This one asks, and then
//! executes the command, so that the command does not go on without the lock if `run` is killed.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::process;

use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::exit::{Code, Failure};
use crate::role::{self, Role};

/// The process to start for a command.
pub(super) fn prepare(command: &[OsString]) -> Command {
    let Some(program) = role::linux_program() else {
        let mut direct = Command::new(&command[0]);
        direct.args(&command[1..]);
        return direct;
    };
    let mut wrapped = role::command(program, Role::DieWithParent);
    wrapped.args(command);
    wrapped.into()
}

/// Becomes the command, which the arguments of this process are. Returns only if the command cannot
/// be executed.
pub(crate) fn die_with_parent() -> Failure {
    // SIGKILL, because no process remains that could follow up on a signal that is ignored.
    if !role::end_with_parent(Signal::SIGKILL) {
        return Failure::silent();
    }
    let mut arguments = role::arguments();
    let program = arguments.next().unwrap_or_default();
    let error = process::Command::new(&program).args(arguments).exec();
    exec_failure(&program, &error)
}

/// Why a program was not executed, with the shell's exit codes.
pub(super) fn exec_failure(program: &OsStr, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        _ => Code::NotExecutable,
    };
    Failure::new(code, format!("cannot run `{}`: {error}", program.display()))
}
