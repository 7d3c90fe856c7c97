//! What one worker did, and when.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use tokio::time::sleep;

tokio::task_local! {
    /// The record of the worker that is running: what it does, and since when.
    static CHANGES: RefCell<Vec<(Instant, State)>>;
}

/// What a worker does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// At work, without a lock.
    Unlocked,
    /// In a queue.
    Waiting,
    /// At work, with a lock that others may share.
    Sharing,
    /// At work, with a lock that keeps all others out.
    Holding,
}

/// How it ended, in a few words.
#[derive(Debug)]
pub(crate) enum Ending {
    Done(String),
    Failed(String),
    Skipped(String),
}

/// One worker's record.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: String,
    pub(crate) changes: Vec<(Instant, State)>,
    pub(crate) ended: Instant,
    pub(crate) ending: Ending,
}

impl Lane {
    /// Lets a worker run to its end and keeps the record. It begins `after` a while.
    pub(crate) fn record<'w, T>(
        name: impl Into<String>,
        after: Duration,
        work: impl Future<Output = T> + 'w,
        ending: impl FnOnce(T) -> Ending + 'w,
    ) -> LocalBoxFuture<'w, Self> {
        let name = name.into();
        let recorded = async move {
            let output = work.await;
            let ended = Instant::now();
            (CHANGES.with(RefCell::take), ended, output)
        };
        let lane = async move {
            sleep(after).await;
            let start = RefCell::new(vec![(Instant::now(), State::Unlocked)]);
            let (changes, ended, output) = CHANGES.scope(start, recorded).await;
            Self {
                name,
                changes,
                ended,
                ending: ending(output),
            }
        };
        lane.boxed_local()
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.ending, Ending::Done(_))
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.ending, Ending::Failed(_))
    }

    pub(crate) fn is_skipped(&self) -> bool {
        matches!(self.ending, Ending::Skipped(_))
    }

    /// When the worker entered a state for the first time.
    pub(crate) fn since(&self, state: State) -> Option<Instant> {
        let change = self.changes.iter().find(|change| change.1 == state);
        change.map(|(since, _)| *since)
    }
}

/// Notes that the worker which is running does something else from now on.
pub(crate) fn enter(state: State) {
    // Outside a worker, as where a scene is set up, nobody takes notes.
    let _ = CHANGES.try_with(|changes| changes.borrow_mut().push((Instant::now(), state)));
}
