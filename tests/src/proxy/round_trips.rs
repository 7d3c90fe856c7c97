//! Counting the round trips of all connections.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wire::{self, Frame};

/// A message that a client has sent to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The number of the connection, counted from 0 since the start of the proxy.
    pub connection: usize,
    /// The number of the round trip, counted from 0 since the last reset. Pings are counted as
    /// well.
    pub round_trip: usize,
    /// The name of the message in the documentation of the protocol: `Query`, `Parse`, `Bind`, …
    pub kind: &'static str,
    /// The SQL text of a `Query` or a `Parse`.
    pub sql: Option<String>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connection {} round trip {} {}",
            self.connection, self.round_trip, self.kind
        )?;
        self.sql.as_ref().map_or(Ok(()), |sql| write!(f, " {sql}"))
    }
}

/// The round trips on all connections of a proxy.
#[derive(Clone, Default)]
pub(super) struct RoundTripCounter {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Default)]
struct Counts {
    resets: u64,
    connections: usize,
    /// How many there were at the last reset.
    connections_before: usize,
    /// For each round trip, whether it has only the messages of a ping so far.
    pings: Vec<bool>,
    messages: Vec<Message>,
}

impl RoundTripCounter {
    pub(super) fn round_trips(&self) -> u64 {
        self.counts()
            .pings
            .iter()
            .map(|is_ping| u64::from(!is_ping))
            .sum()
    }

    pub(super) fn pings(&self) -> u64 {
        self.counts()
            .pings
            .iter()
            .map(|is_ping| u64::from(*is_ping))
            .sum()
    }

    pub(super) fn connections(&self) -> usize {
        let counts = self.counts();
        counts.connections - counts.connections_before
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        self.counts().messages.clone()
    }

    pub(super) fn reset(&self) {
        let mut counts = self.counts();
        counts.resets += 1;
        counts.connections_before = counts.connections;
        counts.pings.clear();
        counts.messages.clear();
    }

    pub(super) fn connection(&self) -> ConnectionCounter {
        let mut counts = self.counts();
        let id = counts.connections;
        counts.connections += 1;
        ConnectionCounter {
            counter: self.clone(),
            id,
            state: Mutex::new(State::Opening),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of one connection in a [`RoundTripCounter`].
pub(super) struct ConnectionCounter {
    counter: RoundTripCounter,
    id: usize,
    state: Mutex<State>,
}

enum State {
    /// The connection starts up, until the first `ReadyForQuery`.
    Opening,
    /// The client has sent nothing since the server's last answer.
    Answered,
    /// The client has sent messages and the server has not answered. The messages belong to the
    /// round trip `index` after `resets` resets.
    Asked { resets: u64, index: usize },
}

impl ConnectionCounter {
    /// True up to the first `ReadyForQuery`.
    pub(super) fn is_opening(&self) -> bool {
        matches!(*self.state(), State::Opening)
    }

    /// Records a message of the client. The message is recorded when it is read and before it is
    /// forwarded. So a message that the client sends before it has received the answer belongs to
    /// the same round trip, also if the link delays one of them.
    pub(super) fn record_client(&self, frame: &Frame) {
        let kind = wire::client_message(frame.kind());
        let mut state = self.state();
        if matches!(*state, State::Opening) || wire::is_terminate(frame.kind()) {
            return;
        }
        let is_sync = kind == "Sync";
        let mut counts = self.counter.counts();
        let index = match *state {
            State::Asked { resets, index } if resets == counts.resets => {
                counts.pings[index] &= is_sync;
                index
            }
            State::Asked { .. } => return, // the round trip began before the reset
            State::Answered | State::Opening => {
                counts.pings.push(is_sync);
                counts.pings.len() - 1
            }
        };
        *state = State::Asked {
            resets: counts.resets,
            index,
        };
        counts.messages.push(Message {
            connection: self.id,
            round_trip: index,
            kind,
            sql: wire::sql(frame),
        });
    }

    /// Records a message of the server. The message is recorded just before the client receives it,
    /// so that the counts are up to date when the client does.
    pub(super) fn record_server(&self, kind: u8) {
        let mut state = self.state();
        let is_opening = matches!(*state, State::Opening);
        if kind == b'Z' || !is_opening && !wire::is_asynchronous(kind) {
            *state = State::Answered;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
