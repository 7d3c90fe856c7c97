//! When a body has begun and ended, as seen by the test.

use std::future::pending;
use std::sync::Arc;

use sqlx::{Executor as _, PgConnection};
use tokio::sync::watch;
use tokio::time::Instant;

/// A body that runs under a lock, with the times of its start and its end.
#[derive(Clone)]
pub(crate) struct Timeline {
    moments: Arc<Moments>,
    is_brief: bool,
}

#[derive(Default)]
struct Moments {
    begin: watch::Sender<Option<Instant>>,
    end: watch::Sender<Option<Instant>>,
}

impl Timeline {
    /// A body that runs until it is dropped or fails.
    pub(crate) fn endless() -> Self {
        Self {
            moments: Arc::default(),
            is_brief: false,
        }
    }

    /// A body that ends at once.
    pub(crate) fn brief() -> Self {
        Self {
            is_brief: true,
            ..Self::endless()
        }
    }

    /// Runs a body that sends nothing to the server.
    pub(crate) async fn wait(self) {
        let _running = self.begin();
        if !self.is_brief {
            pending::<()>().await;
        }
    }

    /// Runs a body that executes a statement.
    pub(crate) async fn work(self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let _running = self.begin();
        let work = if self.is_brief {
            "SELECT 1"
        } else {
            "SELECT pg_sleep(3600)"
        };
        conn.execute(work).await.map(drop)
    }

    /// Begins a body that ends when the result is dropped.
    pub(crate) fn begin(&self) -> RunningBody {
        self.moments.begin.send_replace(Some(Instant::now()));
        RunningBody(self.moments.clone())
    }

    /// Waits until the body has begun, and returns the time.
    pub(crate) async fn began(&self) -> Instant {
        moment(&self.moments.begin).await
    }

    /// Waits until the body has ended, and returns the time.
    pub(crate) async fn ended(&self) -> Instant {
        moment(&self.moments.end).await
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.moments.begin.borrow().is_some()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.moments.end.borrow().is_some()
    }
}

async fn moment(of: &watch::Sender<Option<Instant>>) -> Instant {
    let mut receiver = of.subscribe();
    let known = receiver.wait_for(Option::is_some).await;
    known
        .ok()
        .and_then(|known| *known)
        .expect("BUG: the sender is borrowed")
}

/// A running body, which ends when this value is dropped.
pub(crate) struct RunningBody(Arc<Moments>);

impl Drop for RunningBody {
    fn drop(&mut self) {
        self.0.end.send_replace(Some(Instant::now()));
    }
}
