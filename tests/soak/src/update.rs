//! Changes of a number that is not in the session of its lock: what a loss of the lock can cost.
//!
//! The holder reads a number, works, and writes the next one, on connections of another pool. If it
//! has lost its lock and does not know it yet, the next holder may have changed the number
//! meanwhile, and that change is lost. There are two workloads:
//!
//! - under `until_lost`, which ends the work when the loss is noticed;
//! - the same with a fencing token. The holder first shows its token while it reads, and writes
//!   only if nobody has shown a greater one since.

use std::time::Duration;

use advisory_core::{AdvisoryLock, Term};
use advisory_history::Scope;
use tokio::time::sleep;

use crate::client::{Client, Terms, draw, outcome, success};
use crate::critical_section::{Failure, Pools};
use crate::fleet::lock;
use crate::layout::Layout;
use crate::plan::one_in;
use crate::schema;

/// How a number that is not in the session of its lock is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    UntilLost,
    Fenced,
}

/// The workload whose changes are made in the session that holds the lock.
pub(crate) const IN_SESSION: &str = "in the transaction that holds the lock";

impl Workload {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UntilLost => "under `until_lost`",
            Self::Fenced => "under `until_lost`, with a fencing token",
        }
    }
}

/// What holds the lock.
#[derive(Clone, Copy, Debug)]
enum Tenure {
    Guard,
    LockSession,
    Lead,
    LeadOnLockSession,
}

/// Some changes under one lock.
#[derive(Debug)]
pub(crate) struct Update {
    tenure: Tenure,
    workload: Workload,
    key: i32,
    lock: AdvisoryLock,
    /// How many changes.
    rounds: u8,
    /// The time between a read and its write.
    work: Duration,
}

impl Update {
    pub(crate) fn random(layout: Layout) -> Self {
        let workload = if one_in(2) {
            Workload::UntilLost
        } else {
            Workload::Fenced
        };
        let key = layout.random_key_of(workload);
        let tenure = match fastrand::u8(..6) {
            0 => Tenure::Guard,
            1 | 2 => Tenure::LockSession,
            3 => Tenure::Lead,
            _ => Tenure::LeadOnLockSession,
        };
        let lock = AdvisoryLock::new(key)
            .timeout(Duration::from_secs(2))
            .response_timeout(Duration::from_secs(1))
            .keepalive_interval(Duration::from_millis(500));
        let lock = match tenure {
            Tenure::Lead | Tenure::LeadOnLockSession => lock.polling(Duration::from_millis(20)),
            Tenure::Guard | Tenure::LockSession => lock,
        };
        // Some work lasts longer than a loss may go unnoticed.
        let (rounds, work) = if one_in(200) {
            (1, Duration::from_millis(fastrand::u64(3_000..4_000)))
        } else {
            let work = Duration::from_micros(fastrand::u64(..10_000));
            (fastrand::u8(1..=8), work)
        };
        Self {
            tenure,
            workload,
            key,
            lock,
            rounds,
            work,
        }
    }

    /// The name of the verb.
    pub(crate) fn name(&self) -> &'static str {
        match self.tenure {
            Tenure::Guard => "acquire, until_lost",
            Tenure::LockSession => "acquire on a LockSession, until_lost",
            Tenure::Lead => "lead",
            Tenure::LeadOnLockSession => "lead on a LockSession",
        }
    }

    pub(crate) async fn run(&self, pools: &Pools, client: &Client) -> Result<bool, Failure> {
        match self.tenure {
            Tenure::Guard => self.with_guard(pools, client).await,
            Tenure::LockSession => self.on_lock_session(pools, client).await,
            Tenure::Lead | Tenure::LeadOnLockSession => self.lead(pools, client).await,
        }
    }

    async fn with_guard(&self, pools: &Pools, client: &Client) -> Result<bool, Failure> {
        let attempt = client.attempt(self.name(), Scope::Session, &self.lock);
        let running = async {
            let mut guard = self.lock.acquire(&pools.pool).await?;
            let section = attempt.granted(None);
            let token = draw(&section, guard.fencing_token()).await?;
            guard
                .until_lost(self.change(pools, client, token))
                .await??;
            drop(section);
            guard.release().await?;
            Ok(true)
        };
        let result = running.await;
        attempt.returned(outcome(&result, success(Scope::Session)));
        result
    }

    /// A release on a `LockSession` may be a hand-over in memory. The second token is the proof
    /// that the session was alive after the work.
    async fn on_lock_session(&self, pools: &Pools, client: &Client) -> Result<bool, Failure> {
        let attempt = client.attempt(self.name(), Scope::LockSession, &self.lock);
        let running = async {
            let guard = self.lock.acquire(&pools.locks).await?;
            let section = attempt.granted(None);
            let token = draw(&section, guard.fencing_token()).await?;
            guard
                .until_lost(self.change(pools, client, token))
                .await??;
            draw(&section, guard.fencing_token()).await?;
            drop(section);
            guard.release().await?;
            Ok(true)
        };
        let result = running.await;
        attempt.returned(outcome(&result, success(Scope::LockSession)));
        result
    }

    async fn lead(&self, pools: &Pools, client: &Client) -> Result<bool, Failure> {
        let is_on_pool = matches!(self.tenure, Tenure::Lead);
        let scope = if is_on_pool {
            Scope::Session
        } else {
            Scope::LockSession
        };
        let terms = Terms::new(client, self.name(), scope, &self.lock);
        let terms = &terms;
        let body = async |term: Term| {
            let section = terms.begin(term.number());
            self.change(pools, client, term.number()).await?;
            section.complete();
            Ok::<_, Failure>(true)
        };
        let result = if is_on_pool {
            Box::pin(self.lock.lead(&pools.pool, body)).await
        } else {
            Box::pin(self.lock.lead(&pools.locks, body)).await
        };
        // `lead` returns what the body has returned, whether the lock was lost afterwards or not.
        terms.returned(outcome(&result, success(Scope::LockSession)));
        result
    }

    async fn change(&self, pools: &Pools, client: &Client, token: i64) -> Result<(), Failure> {
        for _ in 0..self.rounds {
            let changed = match self.workload {
                Workload::UntilLost => self.change_once(pools).await,
                Workload::Fenced => self.change_fenced(pools, token).await,
            };
            let what = match &changed {
                Ok(()) => "acknowledged",
                Err(Failure::Fenced) => "refused: too late",
                Err(_) => "failed",
            };
            lock(&client.changes).add(&self.workload.name(), &what, 1);
            changed?;
        }
        Ok(())
    }

    async fn change_once(&self, pools: &Pools) -> Result<(), Failure> {
        let before: i64 = sqlx::query_scalar(schema::READ_NUMBER)
            .bind(self.key)
            .fetch_one(&pools.outside)
            .await?;
        sleep(self.work).await;
        let write = sqlx::query(schema::WRITE_NUMBER).bind(self.key);
        write.bind(before + 1).execute(&pools.outside).await?;
        Ok(())
    }

    async fn change_fenced(&self, pools: &Pools, token: i64) -> Result<(), Failure> {
        let before: Option<i64> = sqlx::query_scalar(schema::READ_FENCED)
            .bind(self.key)
            .bind(token)
            .fetch_optional(&pools.outside)
            .await?;
        let before = before.ok_or(Failure::Fenced)?;
        sleep(self.work).await;
        let write = sqlx::query(schema::WRITE_FENCED).bind(self.key);
        let write = write.bind(before + 1).bind(token);
        let written = write.execute(&pools.outside).await?;
        match written.rows_affected() {
            0 => Err(Failure::Fenced),
            _ => Ok(()),
        }
    }
}
