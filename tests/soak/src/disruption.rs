//! What can fail, and how often.

use advisory_tests::{Cut, Shutdown};

use Concerns::{Process, Server};

/// A part of the name of a disruption that stops a process for a while.
pub(crate) const STOPPED: &str = "stopped";

/// A disruption, and how often it happens.
pub(crate) struct Row {
    pub(crate) disruption: Disruption,
    /// The probability is this divided by the sum of all.
    weight: u32,
    pub(crate) concerns: Concerns,
    /// Its name in the report and in a history.
    pub(crate) name: &'static str,
}

/// What a disruption concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concerns {
    Server,
    /// One process.
    Process,
}

#[rustfmt::skip]
static DISRUPTIONS: [Row; 16] = [
    row(Disruption::Terminate, 25, Server, "a session terminated"),
    row(Disruption::Cancel, 20, Server, "a statement cancelled"),
    row(Disruption::Cut(Cut::Fin), 12, Process, "every connection of a process closed"),
    row(Disruption::Cut(Cut::Reset), 12, Process, "every connection of a process reset"),
    row(Disruption::Silence, 5, Process, "the network of a process silent for up to 3 s"),
    row(Disruption::LossInSilence, 5, Process,
        "the sessions of a process terminated while its network is silent for up to 3 s"),
    row(Disruption::Delay, 5, Process, "the network of a process slow for up to 3 s"),
    row(Disruption::TerminateAll, 3, Server, "every session terminated"),
    row(Disruption::KillProcess, 5, Process, "a process killed (SIGKILL)"),
    row(Disruption::StopProcess, 5, Process, "a process stopped (SIGSTOP) for up to 3 s"),
    row(Disruption::LossWhileStopped, 5, Process,
        "the sessions of a process terminated while it is stopped for up to 3 s"),
    row(Disruption::KillBackend, 1, Server, "a backend killed (SIGKILL), crash recovery"),
    row(Disruption::Restart(Shutdown::Fast), 1, Server, "the server restarted (fast)"),
    row(Disruption::Restart(Shutdown::Immediate), 1, Server,
        "the server restarted (immediate), crash recovery"),
    row(Disruption::Restart(Shutdown::Kill), 1, Server,
        "the server killed (SIGKILL) and started, crash recovery"),
    row(Disruption::FailOver, 2, Server, "the primary killed (SIGKILL), its standby promoted"),
];

const fn row(disruption: Disruption, weight: u32, concerns: Concerns, name: &'static str) -> Row {
    Row {
        disruption,
        weight,
        concerns,
        name,
    }
}

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

/// A random disruption.
pub(crate) fn random() -> &'static Row {
    let sum: u32 = DISRUPTIONS.iter().map(|row| row.weight).sum();
    let mut draw = fastrand::u32(..sum);
    for row in &DISRUPTIONS {
        if draw < row.weight {
            return row;
        }
        draw -= row.weight;
    }
    unreachable!("BUG: less than the sum")
}
