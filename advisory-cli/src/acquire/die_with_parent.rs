//! `advisory die-with-parent`, a hidden subcommand: the process that `run` starts, before it
//! becomes the command.
//!
//! A process can only ask for itself to be killed together with its parent. This one asks, and then
//! executes the command, so that the command does not go on without the lock if `run` is killed.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::exit::{Code, Failure};

/// The running program on Linux, even if its file has been replaced.
const SELF_EXE: &str = "/proc/self/exe";

#[derive(Args, Clone)]
pub(crate) struct DieWithParent {
    /// The process id of `run`.
    parent: u32,
    /// At least the program, because the parser requires the argument.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl DieWithParent {
    /// Becomes the command. Returns only if the command cannot be executed.
    pub(crate) fn run(&self) -> Failure {
        if !die_with_parent(self.parent) {
            return Failure::silent();
        }
        let program = &self.command[0];
        let error = Command::new(program).args(&self.command[1..]).exec();
        exec_failure(program, &error)
    }
}

/// The program that accepts `die-with-parent`; `None` on systems that cannot do it.
pub(super) fn self_exe() -> Option<&'static str> {
    (cfg!(target_os = "linux") && Path::new(SELF_EXE).exists()).then_some(SELF_EXE)
}

/// Why a program was not executed, with the shell's exit codes.
pub(super) fn exec_failure(program: &OsString, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        _ => Code::NotExecutable,
    };
    Failure::new(code, format!("cannot run `{}`: {error}", program.display()))
}

/// Asks for SIGKILL when the parent ends. Returns false if the parent has already ended. SIGKILL,
/// because no process remains that could follow up on a signal that is ignored.
#[cfg(target_os = "linux")]
fn die_with_parent(parent: u32) -> bool {
    use nix::sys::{prctl::set_pdeathsig, signal::Signal};
    use std::os::unix::process::parent_id;

    // The call fails only for a signal that does not exist.
    let _ = set_pdeathsig(Signal::SIGKILL);
    parent_id() == parent
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_parent: u32) -> bool {
    true
}
