//! The timeline of one worker: which state it was in, and when.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt as _, LocalBoxFuture};
use tokio::time::sleep;

tokio::task_local! {
    /// The state changes of the running worker.
    static CHANGES: RefCell<Vec<(Instant, State)>>;
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Works without a lock.
    Unlocked,
    /// Waits for a lock.
    Waiting,
    /// Works and holds a shared lock.
    Sharing,
    /// Works and holds an exclusive lock.
    Holding,
}

/// How a worker ended, with a short note for the chart.
#[derive(Debug)]
pub(crate) enum Ending {
    Done(String),
    Failed(String),
    Skipped(String),
}

/// The recorded timeline of one worker.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) name: String,
    pub(crate) changes: Vec<(Instant, State)>,
    pub(crate) ended: Instant,
    pub(crate) ending: Ending,
}

impl Timeline {
    /// Starts a worker after `delay`, runs it to completion and returns its timeline.
    pub(crate) fn record<'w, T>(
        name: impl Into<String>,
        delay: Duration,
        work: impl Future<Output = T> + 'w,
        ending: impl FnOnce(T) -> Ending + 'w,
    ) -> LocalBoxFuture<'w, Self> {
        let name = name.into();
        let recorded = async move {
            let output = work.await;
            let ended = Instant::now();
            (CHANGES.with(RefCell::take), ended, output)
        };
        let timeline = async move {
            sleep(delay).await;
            let start = RefCell::new(vec![(Instant::now(), State::Unlocked)]);
            let (changes, ended, output) = CHANGES.scope(start, recorded).await;
            Self {
                name,
                changes,
                ended,
                ending: ending(output),
            }
        };
        timeline.boxed_local()
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

/// Records that the running worker enters a state.
pub(crate) fn enter(state: State) {
    // Outside a worker, for example during the setup of a scenario, nothing is recorded.
    let _ = CHANGES.try_with(|changes| changes.borrow_mut().push((Instant::now(), state)));
}
