//! The sessions of an owner, and what each is doing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::connection::{Connection, Reply};
use super::request::Request;
use super::table::{Message, SessionId};
use crate::error::Error;
use crate::sql::lock_session::BackendId;

pub(super) type Underway<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a session is doing.
pub(super) enum Link {
    Opening(Underway<Result<Connection, Error>>),
    Idle(Box<Connection>),
    Talking {
        message: Arc<Message>,
        talk: Underway<(Box<Connection>, Reply)>,
    },
    /// It waits in the server's queue.
    Queueing {
        session: SessionId,
        backend: BackendId,
        /// Since when the server does not know this wait any more.
        over_since: Option<Instant>,
        wait: Underway<(Box<Connection>, Result<(), sqlx::Error>)>,
    },
    /// A probe, or a fencing token.
    Busy(Underway<(Box<Connection>, bool)>),
    Closed,
}

/// What the owner wakes up for.
pub(super) enum Event {
    Request(Option<Request>),
    Opened(usize, Result<Connection, Error>),
    Answered(usize, Box<Connection>, Arc<Message>, Reply),
    Queued(usize, Box<Connection>, Result<(), sqlx::Error>),
    /// Whether it is alive.
    Done(usize, Box<Connection>, bool),
    Ended(usize),
    Time,
    PoolClosed,
}

impl Link {
    /// What has happened to the session.
    pub(super) fn poll(&mut self, index: usize, cx: &mut Context<'_>) -> Poll<Event> {
        match self {
            Self::Closed => Poll::Pending,
            Self::Opening(opening) => {
                let opened = ready!(opening.as_mut().poll(cx));
                Poll::Ready(Event::Opened(index, opened))
            }
            Self::Idle(connection) => {
                ready!(connection.poll_end(cx));
                Poll::Ready(Event::Ended(index))
            }
            Self::Talking { message, talk } => {
                let (connection, reply) = ready!(talk.as_mut().poll(cx));
                Poll::Ready(Event::Answered(
                    index,
                    connection,
                    Arc::clone(message),
                    reply,
                ))
            }
            Self::Queueing { wait, .. } => {
                let (connection, waited) = ready!(wait.as_mut().poll(cx));
                Poll::Ready(Event::Queued(index, connection, waited))
            }
            Self::Busy(answer) => {
                let (connection, is_alive) = ready!(answer.as_mut().poll(cx));
                Poll::Ready(Event::Done(index, connection, is_alive))
            }
        }
    }
}
