//! The processes that `advisory` starts from its own program.
//!
//! They are no subcommands: nobody types them, and no help or completion lists them. The name under
//! which the program is started says which one it is, and the first argument is the process id of
//! its parent.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::path::{Path, PathBuf};
use std::process;

use nix::sys::signal::Signal;

/// What this process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The command that a user has started.
    Command,
    /// What `run` starts: it becomes the command, once it is sure to die with `run`.
    DieWithParent,
    /// What `hold --detach` starts: it holds the lock.
    Detached,
}

const DIE_WITH_PARENT: &str = "advisory-die-with-parent";
const DETACHED: &str = "advisory-hold";

/// The running program on Linux, even if its file has been replaced.
const SELF_EXE: &str = "/proc/self/exe";

impl Role {
    /// The role of this process.
    pub(crate) fn of_this_process() -> Self {
        match std::env::args_os().next() {
            Some(name) if name == DIE_WITH_PARENT => Self::DieWithParent,
            Some(name) if name == DETACHED => Self::Detached,
            _ => Self::Command,
        }
    }

    /// The name under which the program is started.
    fn name(self) -> &'static str {
        match self {
            Self::Command => "advisory",
            Self::DieWithParent => DIE_WITH_PARENT,
            Self::Detached => DETACHED,
        }
    }
}

/// A process in this role, without its other arguments.
pub(crate) fn command(program: &Path, role: Role) -> process::Command {
    let mut command = process::Command::new(program);
    command.arg0(role.name()).arg(process::id().to_string());
    command
}

/// The arguments of this process, without those that [`command`] has added.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    let added = usize::from(Role::of_this_process() != Role::Command);
    std::env::args_os().skip(1 + added)
}

/// The running program on Linux; `None` on other systems and without `/proc`.
pub(crate) fn linux_program() -> Option<&'static Path> {
    let program = Path::new(SELF_EXE);
    (cfg!(target_os = "linux") && program.exists()).then_some(program)
}

/// The running program.
pub(crate) fn program() -> std::io::Result<PathBuf> {
    linux_program().map_or_else(std::env::current_exe, |program| Ok(program.to_owned()))
}

/// Asks for a signal when the parent ends. Returns false if it has already ended, or is not the
/// process that has started this one.
pub(crate) fn end_with_parent(signal: Signal) -> bool {
    // The call fails only for a signal that does not exist.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(signal);
    #[cfg(not(target_os = "linux"))]
    let _ = signal;
    let parent = std::env::args_os().nth(1);
    parent.is_some_and(|parent| parent == *parent_id().to_string())
}

/// Withdraws the request of [`end_with_parent`].
pub(crate) fn outlive_parent() {
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_pdeathsig(None);
}
