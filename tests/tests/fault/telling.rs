//! A story told on a line that fails.

use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use advisory_core::Error;
use advisory_tests::Proxy;
use futures_util::FutureExt as _;
use futures_util::future::{Either, select};
use sqlx::PgPool;
use tokio::time::timeout;

use crate::place::{Place, idles, pool};
use crate::stage::{Outcome, SHORT, Stage};
use crate::story::{Rival, Story, Wait};
use crate::table::forget_panic;

/// More than any story takes: what has a bound is over in a few seconds, and what has none is never over.
const BOUND: Duration = Duration::from_secs(20);
/// The least that the library gives a server to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a busy machine may miss the moment in a row.
const MOST_MISSES: usize = 20;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Hang,
    Panic,
    Leak,
    Outcome,
}

/// What went wrong, and all there is to say about it.
pub(crate) type Complaint = (Wrong, String);

/// How a story has ended.
enum End {
    Cut,
    Whole,
    /// By a timeout, before it could be cut: the machine is busy.
    Missed,
}

/// A story, a place, and what is between them.
pub(crate) struct Telling {
    story: &'static Story,
    place: Arc<Place>,
    proxy: Proxy,
    pool: PgPool,
    is_silent: bool,
    longest: Duration,
}

impl Telling {
    pub(crate) async fn new(story: &'static Story, place: &Arc<Place>, is_silent: bool) -> Self {
        let proxy = Proxy::start_tcp(&place.database);
        let pool = pool(story, &proxy, is_silent).await;
        Self {
            story,
            place: Arc::clone(place),
            proxy,
            pool,
            is_silent,
            longest: Duration::ZERO,
        }
    }

    /// The longest that it has taken.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Tells the story with a fault; true if the fault has happened.
    pub(crate) async fn tell(&mut self, fail: impl Fn(&Proxy)) -> Result<bool, Complaint> {
        for _ in 0..MOST_MISSES {
            match self.tell_once(&fail).await {
                Ok(End::Cut) => return Ok(true),
                Ok(End::Whole) => return Ok(false),
                Ok(End::Missed) => {}
                Err(complaint) => {
                    self.place.spoil();
                    return Err(complaint);
                }
            }
        }
        Err((Wrong::Outcome, "a timeout each time".to_owned()))
    }

    async fn tell_once(&mut self, fail: &impl Fn(&Proxy)) -> Result<End, Complaint> {
        self.begin().await;
        fail(&self.proxy);
        let row = self.place.new_row();
        let (told, took) = self.run(row).await?;
        self.longest = self.longest.max(took);
        let is_cut = self.end().await?;
        let rows = self.place.count(row).await;
        self.judge(&told, rows, took, is_cut).ok_or_else(|| {
            let said = self.proxy.dump();
            let what = format!("{told:?} and {rows} rows, after {took:?} and\n{said}");
            (Wrong::Outcome, what)
        })
    }

    /// The pool and the rival are as the story wants them, and nothing is under way.
    async fn begin(&mut self) {
        if self.story.pool.is_new_each_time() {
            self.pool.close().await;
            self.pool = pool(self.story, &self.proxy, self.is_silent).await;
        }
        idles(&self.pool).await;
        self.proxy.reset();
        if self.story.rival != Rival::Nobody {
            self.place.seize(&self.story.lock).await;
        }
    }

    async fn run(&self, row: i64) -> Result<(Outcome, Duration), Complaint> {
        let stage = Stage::new(self.story, &self.pool, &self.place, row, self.is_silent);
        let started = Instant::now();
        let mut tale = tokio::spawn((self.story.tell)(stage));
        let told = pin!(timeout(BOUND, &mut tale));
        let told = match self.story.rival {
            Rival::Leaves => self.leave_when_wanted(told).await,
            Rival::Nobody | Rival::Stays => told.await,
        };
        match told {
            Ok(Ok(told)) => Ok((told, started.elapsed())),
            Ok(Err(panic)) => Err((Wrong::Panic, panic.to_string())),
            Err(_elapsed) => {
                let what = format!("{}\n{}", self.proxy.dump(), self.dump().await);
                tale.abort();
                Err((Wrong::Hang, what))
            }
        }
    }

    async fn leave_when_wanted<T>(&self, told: impl Future<Output = T> + Unpin) -> T {
        let wanted = pin!(self.place.wait_until_wanted(&self.proxy));
        let told = select(told, wanted).await;
        self.place.leave().await;
        match told {
            Either::Left((told, _)) => told,
            Either::Right(((), told)) => told.await,
        }
    }

    /// Nothing is left of the story. True if it was cut; what it does in the background is part of it.
    async fn end(&self) -> Result<bool, Complaint> {
        let stays = self.story.rival == Rival::Stays;
        self.rest(usize::from(stays)).await?;
        let is_cut = self.proxy.has_cut();
        self.proxy.disarm();
        if stays {
            self.place.leave().await;
        }
        let nothing_leaked = self.place.database.assert_nothing_leaked(&self.pool);
        if let Err(panic) = AssertUnwindSafe(nothing_leaked).catch_unwind().await {
            forget_panic();
            let what = panic.downcast_ref::<String>().cloned();
            return Err((Wrong::Leak, what.unwrap_or_default()));
        }
        if !self.place.is_free(&self.story.lock).await {
            let what = format!("somebody has the lock\n{}", self.dump().await);
            return Err((Wrong::Leak, what));
        }
        Ok(is_cut)
    }

    /// Waits for what is under way. A network that was silent comes back, and what nobody waits for any more arrives.
    async fn rest(&self, locks: usize) -> Result<(), Complaint> {
        let speak = || {
            if self.is_silent {
                self.proxy.set_silent(false);
            }
        };
        if self.place.comes_to_rest(&self.pool, locks, speak).await {
            return Ok(());
        }
        let (idle, size) = (self.pool.num_idle(), self.pool.size());
        let what = format!(
            "{idle} of {size} connections are idle\n{}",
            self.dump().await
        );
        Err((Wrong::Leak, what))
    }

    async fn dump(&self) -> String {
        self.place.database.dump().await
    }

    /// How the story has ended; `None` if it has not told the truth.
    fn judge(&self, told: &Outcome, rows: i64, took: Duration, is_cut: bool) -> Option<End> {
        let is_true = match told {
            Ok(is_written) => rows == i64::from(*is_written),
            // It may have been committed, and the answer lost.
            Err(_) => rows <= 1,
        };
        if !is_true {
            return None;
        }
        let end = if is_cut { End::Cut } else { End::Whole };
        let too_early = if is_cut { End::Cut } else { End::Missed };
        let too_early = Some(too_early).filter(|_| self.may_time_out(took));
        match told {
            Ok(is_written) if *is_written == self.story.ends_well => Some(end),
            Ok(false) if self.story.rival == Rival::Leaves => too_early,
            Err(error) if is_cut && is_loss(error) => Some(end),
            Err(error) if is_timeout(error) => too_early,
            Ok(_) | Err(_) => None,
        }
    }

    /// Whether a timeout may have fired: because of a silence, or because the machine is busy.
    fn may_time_out(&self, took: Duration) -> bool {
        let is_short = self.is_silent || self.story.wait == Wait::Short;
        took >= if is_short { SHORT } else { PATIENCE }
    }
}

/// Whether a connection was lost.
fn is_loss(error: &Error) -> bool {
    matches!(
        error,
        Error::Lost { .. } | Error::Database(sqlx::Error::Io(_))
    )
}

/// Whether somebody had no more patience: the caller, the pool, a verb with the server, or a guard with its session.
fn is_timeout(error: &Error) -> bool {
    match error {
        Error::Lost { .. } | Error::Database(sqlx::Error::PoolTimedOut) => true,
        Error::Database(sqlx::Error::Io(error)) => error.kind() == ErrorKind::TimedOut,
        _ => false,
    }
}
