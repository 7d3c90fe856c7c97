//! Round trips, counted.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wire::{self, Frame};

/// A message that a client sent to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The connection it was sent on, counted from 0 for the life of the proxy.
    pub connection: usize,
    /// The turn it belongs to, counted from 0 since the last reset, pings included.
    pub turn: usize,
    /// Its name in the documentation of the protocol: `Query`, `Parse`, `Bind`, …
    pub kind: &'static str,
    /// The SQL text of a `Query` or a `Parse`.
    pub sql: Option<String>,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connection {} turn {} {}",
            self.connection, self.turn, self.kind
        )?;
        self.sql.as_ref().map_or(Ok(()), |sql| write!(f, " {sql}"))
    }
}

/// What a proxy has seen on all its connections.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    resets: u64,
    connections: usize,
    /// For each turn, whether it is a ping so far.
    pings: Vec<bool>,
    messages: Vec<Message>,
}

impl Tally {
    pub(crate) fn round_trips(&self) -> u64 {
        self.seen()
            .pings
            .iter()
            .map(|is_ping| u64::from(!is_ping))
            .sum()
    }

    pub(crate) fn pings(&self) -> u64 {
        self.seen()
            .pings
            .iter()
            .map(|is_ping| u64::from(*is_ping))
            .sum()
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.seen().messages.clone()
    }

    pub(crate) fn reset(&self) {
        let mut seen = self.seen();
        seen.resets += 1;
        seen.pings.clear();
        seen.messages.clear();
    }

    pub(crate) fn connection(&self) -> ConnectionTally {
        let mut seen = self.seen();
        let id = seen.connections;
        seen.connections += 1;
        ConnectionTally {
            tally: self.clone(),
            id,
            turn: Mutex::new(Turn::Opening),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's part in a [`Tally`].
pub(crate) struct ConnectionTally {
    tally: Tally,
    id: usize,
    turn: Mutex<Turn>,
}

enum Turn {
    /// The start-up, up to the first `ReadyForQuery`.
    Opening,
    /// The client has sent nothing since the server's last answer.
    Answered,
    /// The client has sent something and the server has not answered: turn `index` after so many resets.
    Asked { resets: u64, index: usize },
}

impl ConnectionTally {
    /// True up to the first `ReadyForQuery`.
    pub(crate) fn is_opening(&self) -> bool {
        matches!(*self.turn(), Turn::Opening)
    }

    /// Notes what the client sends. Called when it has been read, before it is passed on: what the client sends before it
    /// has the answer belongs to the same turn, however long either is under way.
    pub(crate) fn client_sends(&self, frame: &Frame) {
        let kind = wire::client_message(frame.kind());
        let mut turn = self.turn();
        if matches!(*turn, Turn::Opening) || wire::is_terminate(frame.kind()) {
            return;
        }
        let is_sync = kind == "Sync";
        let mut seen = self.tally.seen();
        let index = match *turn {
            Turn::Asked { resets, index } if resets == seen.resets => {
                seen.pings[index] &= is_sync;
                index
            }
            Turn::Asked { .. } => return, // its turn began before the reset
            Turn::Answered | Turn::Opening => {
                seen.pings.push(is_sync);
                seen.pings.len() - 1
            }
        };
        *turn = Turn::Asked {
            resets: seen.resets,
            index,
        };
        seen.messages.push(Message {
            connection: self.id,
            turn: index,
            kind,
            sql: wire::sql(frame),
        });
    }

    /// Notes what the server sends. Called just before it reaches the client, so that the counts are complete when it does.
    pub(crate) fn server_sends(&self, kind: u8) {
        let mut turn = self.turn();
        let is_opening = matches!(*turn, Turn::Opening);
        if kind == b'Z' || !is_opening && !wire::is_unasked(kind) {
            *turn = Turn::Answered;
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
