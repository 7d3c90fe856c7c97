//! `advisory hold`: hold a lock until a signal or the end of input.

use std::future::pending;
use std::ops::ControlFlow::{Break, Continue};
use std::process::ExitCode;

use advisory_core::SessionGuard;
use clap::Args;
use tokio::io::{copy, sink, stdin};

use super::options::AcquireOptions;
use super::signals::Signals;
use crate::exit::{EXIT_CODES, Failure, print_message};
use crate::output;
use crate::server::Server;

/// Hold a lock until interrupted.
///
/// Once the lock is held, its key is printed on standard output, for scripts that wait for the
/// line, and a message for people on standard error. SIGINT (Ctrl-C), SIGTERM, SIGHUP, SIGQUIT,
/// SIGUSR1 or SIGUSR2 releases the lock, and the exit code is 0; before the lock is held, these
/// signals end the wait. If the lock is lost, the exit code is 76.
#[derive(Args, Clone)]
#[command(after_help = after_help())]
pub(crate) struct Hold {
    #[command(flatten)]
    options: AcquireOptions,
    /// Release the lock also when standard input ends.
    #[arg(long)]
    until_eof: bool,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  By hand, until Ctrl-C:
    advisory hold deploy
  In a bash script, for several of its steps:
    coproc advisory hold --until-eof deploy && read -r key <&\"${{COPROC[0]}}\"
    …
    exec {{COPROC[1]}}>&-

{EXIT_CODES}"
    )
}

impl Hold {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let mut signals = Signals::catch()?;
        let guard = match self.options.acquire(server, &mut signals).await? {
            Continue(guard) => guard,
            Break(code) => return Ok(code),
        };
        let announced = announce(&guard);
        if announced.is_ok() {
            let end = async {
                tokio::select! {
                    _ = signals.next() => {}
                    () = end_of_input(), if self.until_eof => {}
                }
            };
            guard.until_lost(end).await?;
        }
        guard.release().await?;
        announced.map(|()| ExitCode::SUCCESS)
    }
}

fn announce(guard: &SessionGuard) -> Result<(), Failure> {
    let lock = guard.lock_id();
    lock.keys().iter().try_for_each(output::print_line)?;
    print_message(format_args!("holding {lock}, {}", lock.mode()));
    Ok(())
}

/// Reads standard input to its end. An input that cannot be read has no end.
async fn end_of_input() {
    if copy(&mut stdin(), &mut sink()).await.is_err() {
        pending::<()>().await;
    }
}
