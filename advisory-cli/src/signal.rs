//! The signals that come to us.

use std::fs;
use std::future::poll_fn;
use std::task::Poll;

use nix::sys::signal::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit::{Code, Failure};

/// Those that end a program which does nothing about them.
const ENDING: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Signals that are caught, and kept until somebody asks for them.
pub(crate) struct Signals(Vec<(Signal, Stream)>);

impl Signals {
    /// Catches the signals that would end us.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let mut signals = Self(Vec::new());
        signals.catch_also(&ENDING)?;
        Ok(signals)
    }

    /// Catches these as well. One that was ignored when we were started stays ignored, for us and for what we start: `nohup` means it so,
    /// and a shell for what it starts in the background.
    pub(crate) fn catch_also(&mut self, signals: &[Signal]) -> Result<(), Failure> {
        let ignored = ignored();
        for &caught in signals {
            if ignored & (1 << (caught as i32 - 1)) == 0 {
                self.0.push((caught, stream(caught)?));
            }
        }
        Ok(())
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (signal, stream) in &mut self.0 {
                if stream.poll_recv(cx) == Poll::Ready(Some(())) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Learns of the end of children even if we were started by somebody who does not want to know of theirs: the system keeps the exit
/// codes of nobody who ignores them.
pub(crate) fn heed_children() -> Result<(), Failure> {
    stream(Signal::SIGCHLD).map(drop)
}

fn stream(caught: Signal) -> Result<Stream, Failure> {
    signal(SignalKind::from_raw(caught as i32))
        .map_err(|error| Failure::new(Code::Failure, format!("cannot catch {caught}: {error}")))
}

/// The signals that are ignored, as Linux lists them: the lowest bit is signal 1. None, where nobody says so.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}
