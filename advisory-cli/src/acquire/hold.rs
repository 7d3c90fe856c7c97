//! `advisory hold`: hold a lock until a signal, the end of input or that of another process.

use std::ops::ControlFlow::{Break, Continue};
use std::path::PathBuf;
use std::process::ExitCode;

use advisory_core::SessionGuard;
use clap::Args;

use super::detach;
use super::options::AcquireOptions;
use super::orphan::Reaper;
use super::pid_file::PidFile;
use super::signals::Signals;
use super::until::{Until, UntilOptions};
use crate::exit::{Code, EXIT_CODES, Failure, print_message, signal_code};
use crate::output;
use crate::role::Role;
use crate::server::Server;

/// Hold a lock until interrupted.
///
/// Once the lock is held, its key is printed on standard output, for scripts that wait for the
/// line, and a message for people on standard error. With `--permits`, that is the key of the lock;
/// the key that is held can be that of another slot. SIGINT (Ctrl-C), SIGTERM, SIGHUP, SIGQUIT,
/// SIGUSR1 or SIGUSR2 releases the lock, and the exit code is 0; before the lock is held, these
/// signals end the wait. If the lock is lost, the exit code is 76.
///
/// With `--detach`, the command returns once the lock is held, and prints the id of the process
/// that holds it, for `kill`. If the lock is not acquired, it fails as without `--detach`. What the
/// process says later, such as the loss of the lock, is only seen if standard error is a file. If
/// the command is ended while it waits, the process leaves the queue on Linux; on other systems the
/// process waits on, and releases the lock as soon as the lock is held.
#[derive(Args, Clone)]
#[command(after_help = after_help(), override_usage = "advisory hold [OPTIONS] <NAME>")]
pub(crate) struct Hold {
    #[command(flatten)]
    options: AcquireOptions,
    /// Return once the lock is held, and go on holding it in the background. Prints the process id
    /// instead of the key.
    #[arg(long, short)]
    detach: bool,
    /// Write the process id to this file once the lock is held, and remove the file in the end.
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    #[command(flatten)]
    until: UntilOptions,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  By hand, until Ctrl-C:
    advisory hold deploy
  In a script, for several of its steps; the lock is free when the script ends, however it does:
    pid=$(advisory hold --detach --while-pid $$ deploy) || exit
    …
    kill \"$pid\"
  In a bash script, until it closes a pipe:
    coproc advisory hold --until-eof deploy && read -r key <&\"${{COPROC[0]}}\"
    …
    exec {{COPROC[1]}}>&-

{EXIT_CODES}"
    )
}

impl Hold {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let is_detached = Role::of_this_process() == Role::Detached;
        if self.detach && !is_detached {
            return detach::start();
        }
        if is_detached {
            detach::begin()?;
        }
        let mut signals = Signals::catch()?;
        let _reaper = Reaper::start()?;
        let mut until = self.until.watch()?;
        let end = end_of_wait(&mut signals, &mut until);
        let guard = match self.options.acquire(server, false, end).await? {
            Continue(guard) => guard,
            Break(code) => return Ok(code),
        };
        let announced = self.announce(&guard, is_detached);
        if announced.is_ok() {
            let end = async {
                tokio::select! {
                    _ = signals.next() => {}
                    _ = until.reached() => {}
                }
            };
            guard.until_lost(end).await?;
        }
        guard.release().await?;
        announced.map(|_pid_file| ExitCode::SUCCESS)
    }

    /// Says that the lock is held, on standard output last: a reader of the line can rely on the
    /// rest.
    fn announce(
        &self,
        guard: &SessionGuard,
        is_detached: bool,
    ) -> Result<Option<PidFile>, Failure> {
        let lock = guard.lock_id();
        let pid_file = self.pid_file.as_deref().map(PidFile::write).transpose()?;
        print_message(format_args!("holding {lock}, {}", lock.mode()));
        if is_detached {
            detach::let_go()?;
        }
        lock.keys().iter().try_for_each(output::print_line)?;
        Ok(pid_file)
    }
}

async fn end_of_wait(signals: &mut Signals, until: &mut Until) -> Result<ExitCode, Failure> {
    tokio::select! {
        signal = signals.next() => Ok(signal_code(signal as i32)),
        reason = until.reached() => {
            let message = format!("{reason} before the lock was held");
            Err(Failure::new(Code::NotAcquired, message))
        }
    }
}
