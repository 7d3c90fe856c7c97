//! Signals that this process receives.

use std::fs;
use std::future::poll_fn;
use std::task::Poll;

use nix::sys::signal::Signal;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::exit::Failure;

/// The signals that would end this process.
const ENDING: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Signals that ask a process to end. A command may use the others of [`ENDING`] for something
/// else.
const ASKING: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// Whether a signal would end this process if it were not caught.
pub(super) fn is_ending(signal: Signal) -> bool {
    ENDING.contains(&signal)
}

/// Whether a command that receives this signal is expected to end. Many reload their configuration
/// on SIGHUP.
pub(super) fn is_request_to_end(signal: Signal) -> bool {
    ASKING.contains(&signal) && signal != Signal::SIGHUP
}

/// Signals that are caught, and kept until [`next`](Self::next) returns them.
pub(crate) struct Signals {
    caught: Vec<(Signal, Stream)>,
    asked_to_end: bool,
}

impl Signals {
    /// Catches the signals that would end this process.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let mut signals = Self::none();
        signals.catch_also(&ENDING)?;
        Ok(signals)
    }

    /// No signals.
    pub(super) fn none() -> Self {
        Self {
            caught: Vec::new(),
            asked_to_end: false,
        }
    }

    /// Catches these signals as well. A signal that was ignored when this process started stays
    /// ignored, here and in the command: `nohup` relies on that, and so does a shell for its
    /// background jobs.
    pub(super) fn catch_also(&mut self, signals: &[Signal]) -> Result<(), Failure> {
        let ignored = ignored_signals();
        for &signal in signals {
            if ignored & (1 << (signal as i32 - 1)) == 0 {
                self.caught.push((signal, listen(signal)?));
            }
        }
        Ok(())
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Signal {
        let signal = poll_fn(|cx| {
            for (signal, stream) in &mut self.caught {
                if stream.poll_recv(cx) == Poll::Ready(Some(())) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await;
        self.asked_to_end |= is_request_to_end(signal);
        signal
    }

    /// Waits until a signal asks this process to end. One that was forwarded to a command counts,
    /// because the command may have ended before. A forwarded SIGHUP does not.
    pub(super) async fn asked_to_end(&mut self) {
        while !self.asked_to_end {
            let signal = self.next().await;
            self.asked_to_end |= ASKING.contains(&signal);
        }
    }
}

fn listen(caught: Signal) -> Result<Stream, Failure> {
    signal(SignalKind::from_raw(caught as i32))
        .map_err(|error| Failure::other(format!("cannot catch {caught}: {error}")))
}

/// The mask of ignored signals from Linux's `/proc`, whose lowest bit is signal 1. Other systems do
/// not list them, and the mask is 0.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}
