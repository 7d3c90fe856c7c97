//! What is asked of the owner, and what it keeps of a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::connection::Loss;
use super::table::{RequestId, SessionId};
use crate::error::Error;
use crate::lock::{AdvisoryLock, Wait};

/// What the clones and the guards ask of the owner.
pub(super) enum Request {
    Acquire(Acquire),
    /// The request is dropped.
    Withdraw(RequestId),
    Release(RequestId, Option<oneshot::Sender<bool>>),
    /// The guard has ended, and its lock is released at this time.
    Keep(Grant, Instant),
    FencingToken(SessionId, oneshot::Sender<Result<i64, Error>>),
    Close(oneshot::Sender<()>),
}

pub(super) struct Acquire {
    pub(super) id: RequestId,
    pub(super) lock: AdvisoryLock,
    /// What is left of the deadline.
    pub(super) wait: Wait,
    /// Whether it is the first in the queue for one of several slots.
    pub(super) is_first: bool,
    pub(super) reply: oneshot::Sender<Result<Option<Grant>, Error>>,
}

/// A lock that a session holds. Dropped, it is released.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) id: RequestId,
    pub(super) session: SessionId,
    pub(super) loss: Arc<Loss>,
    pub(super) owner: mpsc::UnboundedSender<Request>,
}

impl Drop for Grant {
    fn drop(&mut self) {
        let _ = self.owner.send(Request::Release(self.id, None));
    }
}

/// A request that waits for its answer. There may be many.
pub(super) struct Pending {
    pub(super) reply: oneshot::Sender<Result<Option<Grant>, Error>>,
    pub(super) arrived: Instant,
    pub(super) deadline: Option<Instant>,
    /// Whether the server's `lock_timeout` bounds the wait.
    pub(super) is_bounded_by_server: bool,
    pub(super) settings: Option<Box<Settings>>,
}

/// What few requests have.
pub(super) struct Settings {
    /// The name to show in the statement that queues for it.
    pub(super) tag: Option<Box<str>>,
    pub(super) polling: Option<Duration>,
    /// When a request that polls is asked for again.
    pub(super) poll_at: Option<Instant>,
}

impl Pending {
    pub(super) fn bound(&mut self, wait: Wait) {
        if let Wait::For(limit) = wait {
            self.deadline = self.arrived.checked_add(limit);
        }
    }

    pub(super) fn bound_by_server(&mut self, lock_timeout: Wait) {
        if self.is_bounded_by_server {
            self.bound(lock_timeout);
        }
    }
}

impl Settings {
    pub(super) fn of(lock: &AdvisoryLock) -> Option<Self> {
        let settings = Self {
            tag: lock.statement_tag().map(Box::from),
            polling: lock.polling_interval(),
            poll_at: None,
        };
        (settings.tag.is_some() || settings.polling.is_some()).then_some(settings)
    }
}
