//! What can fail, and how often.

use advisory_tests::{Cut, Shutdown};

/// A part of the name of a disruption that stops a process for a while.
pub(crate) const STOPPED: &str = "stopped";

/// The disruptions with their weights. The probability of each is its weight divided by the sum.
const DISRUPTIONS: [(Disruption, u32); 16] = [
    (Disruption::Terminate, 25),
    (Disruption::Cancel, 20),
    (Disruption::Cut(Cut::Fin), 12),
    (Disruption::Cut(Cut::Reset), 12),
    (Disruption::Silence, 5),
    (Disruption::LossInSilence, 5),
    (Disruption::Delay, 5),
    (Disruption::TerminateAll, 3),
    (Disruption::KillProcess, 5),
    (Disruption::StopProcess, 5),
    (Disruption::LossWhileStopped, 5),
    (Disruption::KillBackend, 1),
    (Disruption::Restart(Shutdown::Fast), 1),
    (Disruption::Restart(Shutdown::Immediate), 1),
    (Disruption::Restart(Shutdown::Kill), 1),
    (Disruption::FailOver, 2),
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Disruption {
    Terminate,
    TerminateAll,
    Cancel,
    Cut(Cut),
    Silence,
    LossInSilence,
    Delay,
    KillProcess,
    StopProcess,
    LossWhileStopped,
    KillBackend,
    Restart(Shutdown),
    FailOver,
}

impl Disruption {
    /// A random one.
    pub(crate) fn random() -> Self {
        let sum: u32 = DISRUPTIONS.iter().map(|(_, weight)| weight).sum();
        let mut draw = fastrand::u32(..sum);
        for (disruption, weight) in DISRUPTIONS {
            if draw < weight {
                return disruption;
            }
            draw -= weight;
        }
        unreachable!("BUG: less than the sum")
    }

    /// Its name in the report and in a history.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "a session terminated",
            Self::TerminateAll => "every session terminated",
            Self::Cancel => "a statement cancelled",
            Self::Cut(Cut::Reset) => "every connection of a process reset",
            Self::Cut(_) => "every connection of a process closed",
            Self::Silence => "the network of a process silent for up to 3 s",
            Self::LossInSilence => {
                "the sessions of a process terminated while its network is silent for up to 3 s"
            }
            Self::Delay => "the network of a process slow for up to 3 s",
            Self::KillProcess => "a process killed (SIGKILL)",
            Self::StopProcess => "a process stopped (SIGSTOP) for up to 3 s",
            Self::LossWhileStopped => {
                "the sessions of a process terminated while it is stopped for up to 3 s"
            }
            Self::KillBackend => "a backend killed (SIGKILL), crash recovery",
            Self::Restart(Shutdown::Fast) => "the server restarted (fast)",
            Self::Restart(Shutdown::Immediate) => {
                "the server restarted (immediate), crash recovery"
            }
            Self::Restart(Shutdown::Kill) => {
                "the server killed (SIGKILL) and started, crash recovery"
            }
            Self::FailOver => "the primary killed (SIGKILL), its standby promoted",
        }
    }

    /// Whether it concerns one process, and not the server.
    pub(crate) fn is_of_process(self) -> bool {
        match self {
            Self::Cut(_)
            | Self::Silence
            | Self::LossInSilence
            | Self::Delay
            | Self::KillProcess
            | Self::StopProcess
            | Self::LossWhileStopped => true,
            Self::Terminate
            | Self::TerminateAll
            | Self::Cancel
            | Self::KillBackend
            | Self::Restart(_)
            | Self::FailOver => false,
        }
    }
}
