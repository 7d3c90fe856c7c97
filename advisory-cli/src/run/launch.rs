//! The first step of the command: between its start and its program, our own.
//!
//! A process can ask to be ended with its parent, but only for itself. Done in the child before its program is executed, it keeps the command
//! from going on without the lock when we are killed and can do nothing about it any more.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::exit::{Code, Failure};

/// Where Linux has the program that runs, also when another version has taken its place.
const OURSELVES: &str = "/proc/self/exe";

/// What `run` starts in place of the command.
#[derive(Args, Clone)]
pub(crate) struct Launch {
    /// The process to end with.
    parent: u32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Our own program; `None` where it could not do more than start the command.
pub(crate) fn launcher() -> Option<PathBuf> {
    let ourselves = Path::new(OURSELVES);
    (cfg!(target_os = "linux") && ourselves.exists()).then(|| ourselves.to_owned())
}

/// Becomes the command; returns if it cannot.
pub(crate) fn launch(launch: &Launch) -> Failure {
    if !tie(launch.parent) {
        return Failure::silent();
    }
    let (program, arguments) = launch.command.split_first().unzip();
    let program = program.cloned().unwrap_or_default();
    let error = Command::new(&program)
        .args(arguments.unwrap_or_default())
        .exec();
    refusal(&program, &error)
}

/// Why a program does not run, as the shell puts it.
pub(crate) fn refusal(program: &OsString, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        _ => Code::NotExecutable,
    };
    let message = format!("cannot run `{}`: {error}", program.display());
    Failure::new(code, message)
}

/// Ties us to our parent; false if it has gone already. SIGKILL, because there will be nobody to see whether anything else is heeded.
#[cfg(target_os = "linux")]
fn tie(parent: u32) -> bool {
    use nix::sys::{prctl::set_pdeathsig, signal::Signal};
    use std::os::unix::process::parent_id;

    // Only a signal that does not exist is refused.
    let _ = set_pdeathsig(Signal::SIGKILL);
    parent_id() == parent
}

#[cfg(not(target_os = "linux"))]
fn tie(_parent: u32) -> bool {
    true
}
