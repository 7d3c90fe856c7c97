//! `hold`: a lock that is held until somebody says that it is enough.

use std::future::pending;
use std::io::{copy, sink, stdin};
use std::ops::ControlFlow::{Break, Continue};
use std::process::ExitCode;
use std::thread::Builder;

use advisory_core::SessionGuard;
use clap::Args;
use tokio::sync::oneshot;

use crate::acquisition::Acquisition;
use crate::exit::{EXIT_CODES, Failure, note};
use crate::output;
use crate::server::Server;
use crate::signal::Signals;

/// Hold a lock until interrupted.
///
/// Once the lock is held, its key is written to standard output, for scripts that wait for the line, and a line for people to
/// standard error. SIGINT (Ctrl-C), SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 or SIGUSR2 releases it, and the code is 0; before it is held, they
/// end the wait. If the lock is lost, the code is 76.
#[derive(Args, Clone)]
#[command(after_help = after_help())]
pub(crate) struct Hold {
    #[command(flatten)]
    acquisition: Acquisition,
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
  In a script of bash, for several steps of it:
    coproc advisory hold --until-eof deploy && read -r key <&\"${{COPROC[0]}}\"
    …
    exec {{COPROC[1]}}>&-

{EXIT_CODES}"
    )
}

/// Holds the lock.
pub(crate) async fn hold(options: &Hold, server: &Server) -> Result<ExitCode, Failure> {
    let mut signals = Signals::catch()?;
    let guard = match options.acquisition.acquire(server, &mut signals).await? {
        Continue(guard) => guard,
        Break(code) => return Ok(code),
    };
    let announced = announce(&guard);
    if announced.is_ok() {
        let enough = async {
            tokio::select! {
                _ = signals.next() => {}
                () = end_of_input(), if options.until_eof => {}
            }
        };
        guard.until_lost(enough).await?;
    }
    guard.release().await?;
    announced.map(|()| ExitCode::SUCCESS)
}

fn announce(guard: &SessionGuard) -> Result<(), Failure> {
    let lock = guard.lock();
    for key in lock.keys() {
        output::line(key)?;
    }
    note(format_args!("holding {lock}, {}", lock.mode()));
    Ok(())
}

/// On a thread that is left behind: nothing can interrupt it, and the runtime would wait for its own.
async fn end_of_input() {
    let (ended, end) = oneshot::channel();
    // What cannot be read, for want of a thread say, has no end.
    let _ = Builder::new().spawn(move || {
        if copy(&mut stdin(), &mut sink()).is_ok() {
            let _ = ended.send(());
        }
    });
    match end.await {
        Ok(()) => {}
        Err(_) => pending().await,
    }
}
