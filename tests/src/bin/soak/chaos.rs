//! What goes wrong.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use advisory_tests::{Cut, Database, Server, Shutdown};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, Log, lock};

/// How long the server may take to come back.
const PATIENCE: Duration = Duration::from_mins(1);

/// The mishaps, and how often each comes: the sum is what one in so many is of.
const MISHAPS: [(Mishap, u32); 12] = [
    (Mishap::Terminate, 30),
    (Mishap::Cancel, 30),
    (Mishap::Cut(Cut::Fin), 12),
    (Mishap::Cut(Cut::Reset), 12),
    (Mishap::Silence, 5),
    (Mishap::Delay, 5),
    (Mishap::TerminateAll, 3),
    (Mishap::KillProcess, 5),
    (Mishap::KillBackend, 1),
    (Mishap::Restart(Shutdown::Fast), 1),
    (Mishap::Restart(Shutdown::Immediate), 1),
    (Mishap::Restart(Shutdown::Kill), 1),
];

#[derive(Clone, Copy, Debug)]
enum Mishap {
    Terminate,
    TerminateAll,
    Cancel,
    Cut(Cut),
    Silence,
    Delay,
    KillProcess,
    KillBackend,
    Restart(Shutdown),
}

impl Mishap {
    fn random() -> Self {
        let sum: u32 = MISHAPS.iter().map(|(_, weight)| weight).sum();
        let mut draw = fastrand::u32(..sum);
        for (mishap, weight) in MISHAPS {
            if draw < weight {
                return mishap;
            }
            draw -= weight;
        }
        unreachable!("BUG: less than the sum")
    }

    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "a session terminated",
            Self::TerminateAll => "every session terminated",
            Self::Cancel => "a statement cancelled",
            Self::Cut(Cut::Reset) => "every connection of a process reset",
            Self::Cut(_) => "every connection of a process closed",
            Self::Silence => "the network of a process silent for up to 3 s",
            Self::Delay => "the network of a process slow for up to 3 s",
            Self::KillProcess => "a process killed (SIGKILL)",
            Self::KillBackend => "a backend killed (SIGKILL), crash recovery",
            Self::Restart(Shutdown::Fast) => "the server restarted (fast)",
            Self::Restart(Shutdown::Immediate) => {
                "the server restarted (immediate), crash recovery"
            }
            Self::Restart(Shutdown::Kill) => {
                "the server killed (SIGKILL) and started, crash recovery"
            }
        }
    }
}

/// Makes things go wrong.
pub(crate) struct Chaos<'s> {
    server: &'s Server,
    database: PgConnectOptions,
    log: Arc<Log>,
}

impl<'s> Chaos<'s> {
    pub(crate) fn new(server: &'s Server, database: &Database, log: Arc<Log>) -> Self {
        Self {
            server,
            database: database.options().application_name("soak chaos"),
            log,
        }
    }

    /// One mishap.
    pub(crate) async fn strike(&self, fleet: &mut Fleet) {
        let mishap = Mishap::random();
        let index = fastrand::usize(..fleet.members.len());
        let proxy = &fleet.members[index].proxy;
        let struck = match mishap {
            Mishap::Terminate => {
                self.to_a_backend("pg_terminate_backend(pid)", "true", 1)
                    .await
            }
            Mishap::TerminateAll => {
                self.to_a_backend("pg_terminate_backend(pid)", "true", 1000)
                    .await
            }
            Mishap::Cancel => {
                self.to_a_backend("pg_cancel_backend(pid)", "state = 'active'", 1)
                    .await
            }
            Mishap::Cut(cut) => {
                proxy.cut(cut).await;
                Ok(())
            }
            Mishap::Silence => {
                proxy.set_silent(true);
                sleep(Duration::from_millis(fastrand::u64(100..3_000))).await;
                proxy.set_silent(false);
                Ok(())
            }
            Mishap::Delay => {
                proxy.set_delay(Duration::from_millis(fastrand::u64(1..30)));
                sleep(Duration::from_millis(fastrand::u64(100..3_000))).await;
                proxy.set_delay(Duration::ZERO);
                Ok(())
            }
            Mishap::KillProcess => {
                fleet.replace(index).await;
                Ok(())
            }
            Mishap::KillBackend => self.kill_a_backend().await,
            Mishap::Restart(how) => {
                self.server.restart(how).await;
                Ok(())
            }
        };
        match struck {
            Ok(()) => lock(&self.log.chaos).add(&mishap.name(), &"times", 1),
            Err(error) => lock(&self.log.faults).push(format!("chaos: {}: {error}", mishap.name())),
        }
    }

    /// Does something to the processes' backends, at random.
    async fn to_a_backend(&self, action: &str, condition: &str, most: u32) -> Result<(), String> {
        let statement = format!(
            "SELECT {action} FROM (SELECT pid FROM pg_stat_activity \
             WHERE application_name = 'soak' AND {condition} ORDER BY random() LIMIT {most}) AS backends"
        );
        let mut conn = self.connection().await?;
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut conn)
            .await;
        done.map(drop).map_err(|error| error.to_string())?;
        conn.close().await.map_err(|error| error.to_string())
    }

    /// As the system does when it runs out of memory. The server ends every session then, and recovers.
    async fn kill_a_backend(&self) -> Result<(), String> {
        let mut conn = self.connection().await?;
        let pid: Option<i32> = sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'soak' ORDER BY random() LIMIT 1",
        )
        .fetch_optional(&mut conn)
        .await
        .map_err(|error| error.to_string())?;
        let Some(pid) = pid else { return Ok(()) };
        let killed = Command::new("kill")
            .args(["-KILL", &pid.to_string()])
            .status();
        match killed {
            // Ours is one of the sessions that end now.
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("`kill`: {other:?}")),
        }
    }

    /// A connection past the proxies, as soon as the server takes one.
    async fn connection(&self) -> Result<PgConnection, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.database.connect().await {
                Ok(conn) => return Ok(conn),
                Err(error) if Instant::now() > deadline => return Err(error.to_string()),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}
