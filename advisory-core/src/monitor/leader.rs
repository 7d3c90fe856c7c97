//! Who leads, for those who do not stand for election.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use sqlx::Row as _;
use sqlx::postgres::{PgExecutor, PgPool, PgRow};
use tokio::time::sleep;

use crate::error::Error;
use crate::key::Key;
use crate::sql::leader::leader as leader_query;
use crate::sql::send::send;
use crate::sql::{application_name, lossy_text};
use crate::time_bounds::OBSERVER_POLL;

/// The session that leads, from the server's view; see [`leader`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Leader {
    /// The process id of its backend; 0 if a prepared transaction holds the lock.
    pub pid: i32,
    /// How long it leads. `None` if the server does not know: PostgreSQL does not record when a
    /// lock is granted, and only a session that [leads](crate::AdvisoryLock::lead) on a pool runs
    /// nothing after its election. On a [`LockSession`](crate::LockSession), the
    /// [`session_age`](Self::session_age) is the most that it can be. `None` also for a role that
    /// may not see the statements of the other session.
    pub term_age: Option<Duration>,
    /// How long ago its session connected.
    pub session_age: Option<Duration>,
    /// The session's `application_name`; `None` if it has none.
    pub application_name: Option<String>,
    /// The role that the session is logged in as.
    pub user: Option<String>,
    /// The address of the session's client, or `local` on a Unix-domain socket.
    pub client_addr: Option<String>,
    session: String,
    /// When its term began. `None` also in the moments between the grant and the beginning, and
    /// between the end and the release.
    term: Option<String>,
}

impl Leader {
    /// The lock's name in the `application_name` of the session; see
    /// [`AdvisoryLock::tag_session`](crate::AdvisoryLock::tag_session).
    pub fn tag(&self) -> Option<String> {
        application_name::read(self.application_name.as_deref()?)
    }

    /// Whether a later look shows the same term, as far as the server can tell.
    fn is_same_term(&self, later: &Self) -> bool {
        let is_unknown = self.term.is_none() || later.term.is_none();
        self.session == later.session && (is_unknown || self.term == later.term)
    }

    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let age = |column| -> Result<Option<Duration>, sqlx::Error> {
            let seconds: Option<f64> = row.try_get(column)?;
            Ok(seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()))
        };
        Ok(Self {
            pid: row.try_get("pid")?,
            term_age: age("term_age")?,
            session_age: age("session_age")?,
            application_name: lossy_text(row, "application_name")?,
            user: lossy_text(row, "user")?,
            client_addr: row.try_get("client_addr")?,
            session: row.try_get("session")?,
            term: row.try_get("term")?,
        })
    }
}

/// Who leads: the session that holds a key of this database exclusively. `None` if nobody does.
///
/// It reads `pg_locks` and `pg_stat_activity`, and locks nothing. The answer may be outdated when
/// it arrives; it is for people and dashboards, and decides nothing.
///
/// ```no_run
/// use advisory_core::{Error, monitor};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// match monitor::leader(pool, "sweeper").await? {
///     Some(leader) => println!("{:?} leads for {:?}", leader.application_name, leader.term_age),
///     None => println!("nobody leads"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Database`].
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn leader(
    executor: impl PgExecutor<'_>,
    key: impl Into<Key>,
) -> Result<Option<Leader>, Error> {
    let rows = send(executor, leader_query(key.into())).await;
    let rows = rows.map_err(Error::of_message)?;
    let leader = rows.first().map(Leader::read).transpose();
    Ok(leader?)
}

/// A look at the server that is under way.
type Look = Pin<Box<dyn Future<Output = Result<Option<Leader>, Error>> + Send>>;

/// The leaders of a key, one after the other: a stream that yields the leader at first, and again
/// with every change.
///
/// The server does not report changes, so it asks at an interval, with one statement on a
/// connection of the pool. A term that is shorter than the interval may go unseen. After an error
/// it asks again at the interval; it never ends.
///
/// ```no_run
/// use advisory_core::{Error, monitor::LeaderWatch};
///
/// # async fn example(pool: &sqlx::PgPool) -> Result<(), Error> {
/// let mut watch = LeaderWatch::new(pool, "sweeper");
/// loop {
///     match watch.changed().await {
///         Ok(Some(leader)) => println!("{} leads", leader.pid),
///         Ok(None) => println!("nobody leads"),
///         Err(error) => println!("the leader is not known: {error}"),
///     }
/// }
/// # }
/// ```
#[must_use = "it asks nothing until it is awaited"]
pub struct LeaderWatch {
    pool: PgPool,
    key: Key,
    interval: Duration,
    /// What was seen last. `None` before the first look.
    seen: Option<Seen>,
    next: Option<Look>,
}

impl LeaderWatch {
    /// Watches a key of this pool's database. It asks nothing yet.
    pub fn new(pool: &PgPool, key: impl Into<Key>) -> Self {
        Self {
            pool: pool.clone(),
            key: key.into(),
            interval: OBSERVER_POLL,
            seen: None,
            next: None,
        }
    }

    /// How often it asks. If not set, every second; at least every millisecond.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Waits until another session leads than the one that was returned last, or none. The first
    /// call returns what it sees.
    ///
    /// # Errors
    ///
    /// As [`leader`], once for several errors in a row.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no change is lost that is still there at the next call.
    pub async fn changed(&mut self) -> Result<Option<Leader>, Error> {
        std::future::poll_fn(|cx| self.poll_changed(cx)).await
    }

    fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Leader>, Error>> {
        loop {
            let next = self.next.get_or_insert_with(|| {
                let (pool, key, interval) = (self.pool.clone(), self.key, self.interval);
                let is_first = self.seen.is_none();
                Box::pin(async move {
                    if !is_first {
                        sleep(interval).await;
                    }
                    leader(&pool, key).await
                })
            });
            let found = ready!(next.as_mut().poll(cx));
            self.next = None;
            if note(&mut self.seen, found.as_ref().map_err(|_| ()).cloned()) {
                return Poll::Ready(found);
            }
        }
    }
}

/// What a look has seen. All errors count as one.
type Seen = Result<Option<Leader>, ()>;

/// Notes what is seen now, and returns whether it is a change.
fn note(seen: &mut Option<Seen>, mut now: Seen) -> bool {
    let is_same = match (&*seen, &mut now) {
        (Some(Ok(Some(before))), Ok(Some(now))) if before.is_same_term(now) => {
            now.term = now.term.take().or_else(|| before.term.clone());
            true
        }
        (Some(Ok(None)), Ok(None)) | (Some(Err(())), Err(())) => true,
        _ => false,
    };
    *seen = Some(now);
    !is_same
}

impl Stream for LeaderWatch {
    type Item = Result<Option<Leader>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_changed(cx).map(Some)
    }
}

impl fmt::Debug for LeaderWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderWatch")
            .field("key", &self.key)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(session: &str, term: Option<&str>) -> Leader {
        Leader {
            pid: 1,
            term_age: None,
            session_age: None,
            application_name: None,
            user: None,
            client_addr: None,
            session: session.to_owned(),
            term: term.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn a_term_is_one_change_also_while_it_begins_and_ends() {
        let looks = [
            (None, true),
            (Some(leader("a", None)), true),
            (Some(leader("a", Some("1"))), false),
            // Its session is about to release the lock, and soon leads again.
            (Some(leader("a", None)), false),
            (Some(leader("a", Some("2"))), true),
            (Some(leader("a", Some("2"))), false),
            (Some(leader("b", None)), true),
            (None, true),
            (None, false),
        ];
        let mut seen = None;
        for (number, (look, is_change)) in looks.into_iter().enumerate() {
            assert_eq!(note(&mut seen, Ok(look)), is_change, "look {number}");
        }
    }
}
