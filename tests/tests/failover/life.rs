//! When a body ran, seen from outside.

use std::future::pending;
use std::sync::Arc;

use sqlx::{Executor as _, PgConnection};
use tokio::sync::watch;
use tokio::time::Instant;

/// What runs under a lock.
#[derive(Clone)]
pub(crate) struct Life {
    moments: Arc<Moments>,
    is_brief: bool,
}

#[derive(Default)]
struct Moments {
    begin: watch::Sender<Option<Instant>>,
    end: watch::Sender<Option<Instant>>,
}

impl Life {
    /// Goes on until it is dropped or fails.
    pub(crate) fn long() -> Self {
        Self {
            moments: Arc::default(),
            is_brief: false,
        }
    }

    /// Is done as soon as it has begun.
    pub(crate) fn brief() -> Self {
        Self {
            is_brief: true,
            ..Self::long()
        }
    }

    /// A body that does nothing.
    pub(crate) async fn rest(self) {
        let _alive = self.begin();
        if !self.is_brief {
            pending::<()>().await;
        }
    }

    /// A body that has the server do something.
    pub(crate) async fn work(self, conn: &mut PgConnection) -> sqlx::Result<()> {
        let _alive = self.begin();
        let work = if self.is_brief {
            "SELECT 1"
        } else {
            "SELECT pg_sleep(3600)"
        };
        conn.execute(work).await.map(drop)
    }

    /// A body that lasts until this is dropped.
    pub(crate) fn begin(&self) -> Alive {
        self.moments.begin.send_replace(Some(Instant::now()));
        Alive(self.moments.clone())
    }

    /// Waits until it has begun, and says when.
    pub(crate) async fn began(&self) -> Instant {
        moment(&self.moments.begin).await
    }

    /// Waits until it has ended, and says when.
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
    let mut seen = of.subscribe();
    let known = seen.wait_for(Option::is_some).await;
    known
        .ok()
        .and_then(|known| *known)
        .expect("BUG: the sender is borrowed")
}

/// A body that runs.
pub(crate) struct Alive(Arc<Moments>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.end.send_replace(Some(Instant::now()));
    }
}
