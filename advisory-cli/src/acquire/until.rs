//! What ends `hold`, besides signals.

use std::fs::File;
use std::future::pending;
use std::io::Read as _;
use std::os::fd::AsFd as _;

use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncReadExt as _, Stdin, stdin};

use super::process::Process;
use crate::exit::Failure;

/// Until when to hold the lock.
#[derive(Args, Clone)]
pub(super) struct UntilOptions {
    /// Release the lock also when standard input ends. An input that has already ended, as that of
    /// a background job of a script, is refused.
    #[arg(long, conflicts_with = "detach")]
    until_eof: bool,
    /// Release the lock also when the process with this id ends: `$$` is the script itself.
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    while_pid: Option<i32>,
}

/// What is waited for.
pub(super) struct Until {
    input: Option<Stdin>,
    process: Option<Process>,
}

impl UntilOptions {
    /// Begins to watch. Fails if there is nothing to wait for any more.
    pub(super) fn watch(&self) -> Result<Until, Failure> {
        if self.until_eof && is_at_end() {
            return Err(Failure::usage(
                "standard input is already at its end, so `--until-eof` would release the lock at \
                 once; a script gives `/dev/null` to what it starts with `&`: give an open input, as \
                 in `advisory hold --until-eof NAME <&3 &`, or use `--while-pid $$`",
            ));
        }
        Ok(Until {
            input: self.until_eof.then(stdin),
            process: self.while_pid.map(Process::watch).transpose()?,
        })
    }
}

impl Until {
    /// Waits for the end of the input or of the process. Can be called again if it was dropped.
    pub(super) async fn reached(&mut self) -> String {
        tokio::select! {
            () = end_of_input(self.input.as_mut()) => "standard input has ended".to_owned(),
            pid = end_of_process(self.process.as_mut()) => format!("process {pid} has ended"),
        }
    }
}

/// Reads to the end. An input that cannot be read has no end.
async fn end_of_input(input: Option<&mut Stdin>) {
    if let Some(input) = input {
        let mut ignored = [0; 4096];
        loop {
            match input.read(&mut ignored).await {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
    pending::<()>().await;
}

async fn end_of_process(process: Option<&mut Process>) -> i32 {
    match process {
        Some(process) => process.ended().await,
        None => pending().await,
    }
}

/// Whether standard input has ended, or ends without waiting for anybody, as a file does. Drops
/// some of what is there.
fn is_at_end() -> bool {
    let input = std::io::stdin();
    let file = input.as_fd().try_clone_to_owned().map(File::from);
    if file.is_ok_and(|file| file.metadata().is_ok_and(|metadata| metadata.is_file())) {
        return true;
    }
    let mut events = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
    // An input that has ended is readable.
    let is_ready = poll(&mut events, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
    is_ready && matches!(input.lock().read(&mut [0; 4096]), Ok(0))
}
