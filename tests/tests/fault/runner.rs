//! Running a scenario with a fault, and checking its outcome.

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

use crate::env::{Env, Outcome, SHORT};
use crate::fixture::{Fixture, held_by_rival, pool, wait_until_idle};
use crate::report::forget_panic;
use crate::scenario::{Rival, Scenario, Timeout};

/// Longer than any scenario takes. A scenario with a bound ends in a few seconds, and a hang never
/// ends.
const HANG_TIMEOUT: Duration = Duration::from_mins(1);
/// The shortest time that the crate gives a server to respond.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often in a row a busy machine may time out before the cut.
const MOST_MISSES: usize = 20;

/// The kind of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ViolationKind {
    Hang,
    Panic,
    Leak,
    Outcome,
}

/// What a scenario has violated, with a description.
pub(crate) type Violation = (ViolationKind, String);

/// The end of a correct run.
enum End {
    /// The fault has happened.
    Cut,
    /// The scenario has ended without a fault.
    Whole,
    /// The scenario has timed out before the fault, because the machine is busy.
    Missed,
}

/// A scenario and its fixture, with the proxy and the pool between them.
pub(crate) struct Runner {
    scenario: &'static Scenario,
    fixture: Arc<Fixture>,
    proxy: Proxy,
    pool: PgPool,
    is_silent: bool,
    longest: Duration,
}

impl Runner {
    pub(crate) async fn new(
        scenario: &'static Scenario,
        fixture: &Arc<Fixture>,
        is_silent: bool,
    ) -> Self {
        let proxy = Proxy::start_tcp(&fixture.database);
        let pool = pool(scenario, &proxy, is_silent).await;
        Self {
            scenario,
            fixture: Arc::clone(fixture),
            proxy,
            pool,
            is_silent,
            longest: Duration::ZERO,
        }
    }

    /// The duration of the longest run.
    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// Runs the scenario with a fault. Returns true if the fault has happened.
    pub(crate) async fn run(&mut self, fail: impl Fn(&Proxy)) -> Result<bool, Violation> {
        for _ in 0..MOST_MISSES {
            match self.run_once(&fail).await {
                Ok(End::Cut) => return Ok(true),
                Ok(End::Whole) => return Ok(false),
                Ok(End::Missed) => {}
                Err(violation) => {
                    self.fixture.mark_dirty();
                    return Err(violation);
                }
            }
        }
        Err((ViolationKind::Outcome, "a timeout each time".to_owned()))
    }

    async fn run_once(&mut self, fail: &impl Fn(&Proxy)) -> Result<End, Violation> {
        self.prepare().await;
        fail(&self.proxy);
        let row = self.fixture.new_row();
        let (outcome, took) = self.execute(row).await?;
        self.longest = self.longest.max(took);
        let is_cut = self.clean_up().await?;
        let rows = self.fixture.count(row).await;
        self.classify(&outcome, rows, took, is_cut).ok_or_else(|| {
            let messages = self.proxy.dump();
            let what = format!("{outcome:?} and {rows} rows, after {took:?} and\n{messages}");
            (ViolationKind::Outcome, what)
        })
    }

    /// Prepares the pool and the rival for the scenario.
    async fn prepare(&mut self) {
        if self.scenario.pool.is_new_each_time() {
            self.pool.close().await;
            self.pool = pool(self.scenario, &self.proxy, self.is_silent).await;
        }
        wait_until_idle(&self.pool).await;
        self.proxy.reset();
        if self.scenario.rival != Rival::None {
            self.fixture.hold(&self.scenario.lock).await;
        }
    }

    async fn execute(&self, row: i64) -> Result<(Outcome, Duration), Violation> {
        let env = Env::new(
            self.scenario,
            &self.pool,
            &self.fixture,
            row,
            self.is_silent,
        );
        let started = Instant::now();
        let mut task = tokio::spawn((self.scenario.run)(env));
        let outcome = pin!(timeout(HANG_TIMEOUT, &mut task));
        let outcome = match self.scenario.rival {
            Rival::Releases => self.release_when_wanted(outcome).await,
            Rival::None | Rival::Holds => outcome.await,
        };
        match outcome {
            Ok(Ok(outcome)) => Ok((outcome, started.elapsed())),
            Ok(Err(panic)) => Err((ViolationKind::Panic, panic.to_string())),
            Err(_elapsed) => {
                let what = format!("{}\n{}", self.proxy.dump(), self.dump().await);
                task.abort();
                Err((ViolationKind::Hang, what))
            }
        }
    }

    async fn release_when_wanted<T>(&self, outcome: impl Future<Output = T> + Unpin) -> T {
        let wanted = pin!(
            self.fixture
                .wait_until_wanted(&self.scenario.lock, &self.proxy)
        );
        let outcome = select(outcome, wanted).await;
        self.fixture.release().await;
        match outcome {
            Either::Left((outcome, _)) => outcome,
            Either::Right(((), outcome)) => outcome.await,
        }
    }

    /// Asserts that the scenario has left nothing. Returns true if it was cut, possibly in the
    /// background.
    async fn clean_up(&self) -> Result<bool, Violation> {
        let rival_holds = self.scenario.rival == Rival::Holds;
        let held = if rival_holds {
            held_by_rival(&self.scenario.lock)
        } else {
            0
        };
        self.wait_until_idle(held).await?;
        let is_cut = self.proxy.has_cut();
        self.proxy.disarm();
        if rival_holds {
            self.fixture.release().await;
        }
        let nothing_leaked = self.fixture.database.assert_nothing_leaked(&self.pool);
        if let Err(panic) = AssertUnwindSafe(nothing_leaked).catch_unwind().await {
            forget_panic();
            let what = panic.downcast_ref::<String>().cloned();
            return Err((ViolationKind::Leak, what.unwrap_or_default()));
        }
        if !self.fixture.is_free(&self.scenario.lock).await {
            let what = format!("the lock is not free\n{}", self.dump().await);
            return Err((ViolationKind::Leak, what));
        }
        Ok(is_cut)
    }

    /// Waits until all connections are idle. A silent network is restored first, so that delayed
    /// messages arrive.
    async fn wait_until_idle(&self, held: usize) -> Result<(), Violation> {
        let restore = || {
            if self.is_silent {
                self.proxy.set_silent(false);
            }
        };
        if self
            .fixture
            .is_idle_soon(&self.pool, held, self.scenario.kept, restore)
            .await
        {
            return Ok(());
        }
        let (idle, size) = (self.pool.num_idle(), self.pool.size());
        let what = format!(
            "{idle} of {size} connections are idle\n{}",
            self.dump().await
        );
        Err((ViolationKind::Leak, what))
    }

    async fn dump(&self) -> String {
        self.fixture.database.dump().await
    }

    /// The end of the run; `None` if the outcome is wrong.
    fn classify(&self, outcome: &Outcome, rows: i64, took: Duration, is_cut: bool) -> Option<End> {
        let is_consistent = match outcome {
            Ok(is_written) => rows == i64::from(*is_written),
            // The commit may have succeeded although its response was lost.
            Err(_) => rows <= 1,
        };
        if !is_consistent {
            return None;
        }
        let end = if is_cut { End::Cut } else { End::Whole };
        let too_early = if is_cut { End::Cut } else { End::Missed };
        let too_early = Some(too_early).filter(|_| self.may_time_out(took));
        match outcome {
            Ok(is_written) if *is_written == self.scenario.writes_row => Some(end),
            Ok(false) if self.scenario.rival == Rival::Releases => too_early,
            Err(error) if is_cut && is_loss(error) => Some(end),
            Err(error) if is_timeout(error) => too_early,
            Ok(_) | Err(_) => None,
        }
    }

    /// True if a timeout may have expired, because of a silence or because the machine is busy.
    fn may_time_out(&self, took: Duration) -> bool {
        let is_short = self.is_silent || self.scenario.timeout == Timeout::Short;
        took >= if is_short { SHORT } else { RESPONSE_TIMEOUT }
    }
}

/// True if the connection was lost.
fn is_loss(error: &Error) -> bool {
    matches!(
        error,
        Error::Lost { .. } | Error::Database(sqlx::Error::Io(_))
    )
}

/// True if a timeout has expired: that of the caller, of the pool, of a verb or of a guard.
fn is_timeout(error: &Error) -> bool {
    match error {
        Error::Lost { .. } | Error::Database(sqlx::Error::PoolTimedOut) => true,
        Error::Database(sqlx::Error::Io(error)) => error.kind() == ErrorKind::TimedOut,
        _ => false,
    }
}
