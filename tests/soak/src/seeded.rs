//! Clients with a fault, which the checks must find.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use advisory_core::{AdvisoryLock, SessionGuard, unlock};
use advisory_history::{Outcome, Scope};
use clap::ValueEnum;
use tokio::time::sleep;

use crate::client::{Client, draw};
use crate::critical_section::{Failure, Pools};
use crate::fleet::lock;
use crate::layout::Layout;

/// How long a faulty client works, so that others have the time to do the same.
const WORK: Duration = Duration::from_millis(30);

/// What a faulty client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Seeded {
    /// Unlocks before its work has ended.
    EarlyUnlock,
    /// Loses its session, and works on another one as if that had its lock.
    IgnoredLoss,
    /// Takes the token of its first grant for those that follow.
    ReusedToken,
    /// Takes one of three permits, where all others believe in two.
    ExtraPermit,
    /// Returns a connection to the pool that still holds a lock.
    LeftLock,
    /// Ends with an error that no disruption causes.
    UnknownError,
}

impl Seeded {
    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.expect("BUG: no value is hidden").get_name().into()
    }

    pub(crate) async fn run(
        self,
        pools: &Pools,
        client: &Client,
        layout: Layout,
    ) -> Result<bool, Failure> {
        let query = match self {
            // Nobody else uses this key.
            Self::LeftLock => "SELECT pg_advisory_lock_shared(-1)",
            Self::UnknownError => "SELECT 1 / 0",
            _ => return self.run_under_lock(pools, client, layout).await,
        };
        sqlx::query(query).execute(&pools.pool).await?;
        Ok(true)
    }

    /// The faults that the history shows.
    async fn run_under_lock(
        self,
        pools: &Pools,
        client: &Client,
        layout: Layout,
    ) -> Result<bool, Failure> {
        let key = fastrand::i32(layout.keys());
        let (actual, believed) = match self {
            Self::ExtraPermit => {
                let lock = AdvisoryLock::new(layout.first_semaphore());
                (lock.clone().permits(3), lock.permits(2))
            }
            _ => (AdvisoryLock::new(key), AdvisoryLock::new(key)),
        };
        let attempt = client.attempt(&self.name(), Scope::Session, &believed);
        let timeout = Duration::from_secs(2);
        let mut guard = actual.timeout(timeout).acquire(&pools.pool).await?;
        let section = attempt.granted(None);
        match self {
            Self::EarlyUnlock => {
                unlock(guard.connection().await?, key).await?;
            }
            Self::IgnoredLoss => terminate(pools, &mut guard).await?,
            Self::ReusedToken => {
                static FIRST: Mutex<Option<HashMap<i32, i64>>> = Mutex::new(None);
                let remembered = lock(&FIRST).get_or_insert_default().get(&key).copied();
                let token = async {
                    match remembered {
                        Some(token) => Ok(token),
                        None => guard.fencing_token().await,
                    }
                };
                let token = draw(&section, token).await?;
                lock(&FIRST).get_or_insert_default().insert(key, token);
            }
            Self::ExtraPermit | Self::LeftLock | Self::UnknownError => {}
        }
        sleep(WORK).await;
        drop(section);
        attempt.returned(Outcome::Released);
        Ok(true)
    }
}

/// Terminates the session of a guard, as an administrator or a fault does.
async fn terminate(pools: &Pools, guard: &mut SessionGuard) -> Result<(), Failure> {
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()");
    let pid: i32 = pid.fetch_one(guard.connection().await?).await?;
    let terminate = sqlx::query("SELECT pg_terminate_backend($1)").bind(pid);
    terminate.execute(&pools.outside).await?;
    Ok(())
}
