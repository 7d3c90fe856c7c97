//! Disruptions of the server, the network and the processes.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use advisory_tests::{Cut, Database, Server, Shutdown};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::time::{Instant, sleep};

use crate::fleet::{Fleet, Log, lock};

/// How long the server may take to restart.
const RESTART_TIMEOUT: Duration = Duration::from_mins(1);

/// The disruptions with their weights. The probability of each is its weight divided by the sum.
const DISRUPTIONS: [(Disruption, u32); 12] = [
    (Disruption::Terminate, 30),
    (Disruption::Cancel, 30),
    (Disruption::Cut(Cut::Fin), 12),
    (Disruption::Cut(Cut::Reset), 12),
    (Disruption::Silence, 5),
    (Disruption::Delay, 5),
    (Disruption::TerminateAll, 3),
    (Disruption::KillProcess, 5),
    (Disruption::KillBackend, 1),
    (Disruption::Restart(Shutdown::Fast), 1),
    (Disruption::Restart(Shutdown::Immediate), 1),
    (Disruption::Restart(Shutdown::Kill), 1),
];

#[derive(Clone, Copy, Debug)]
enum Disruption {
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

impl Disruption {
    fn random() -> Self {
        let sum: u32 = DISRUPTIONS.iter().map(|(_, weight)| weight).sum();
        let mut draw = fastrand::u32(..sum);
        for (disruption, weight) in DISRUPTIONS {
            if draw < weight {
                return disruption;
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

/// Disrupts the server, the network and the processes.
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

    /// Causes one random disruption.
    pub(crate) async fn disrupt(&self, fleet: &mut Fleet) {
        let disruption = Disruption::random();
        let index = fastrand::usize(..fleet.members.len());
        let proxy = &fleet.members[index].proxy;
        let result = match disruption {
            Disruption::Terminate => {
                self.to_backends("pg_terminate_backend(pid)", "true", 1)
                    .await
            }
            Disruption::TerminateAll => {
                self.to_backends("pg_terminate_backend(pid)", "true", 1000)
                    .await
            }
            Disruption::Cancel => {
                self.to_backends("pg_cancel_backend(pid)", "state = 'active'", 1)
                    .await
            }
            Disruption::Cut(cut) => {
                proxy.cut(cut).await;
                Ok(())
            }
            Disruption::Silence => {
                proxy.set_silent(true);
                sleep(Duration::from_millis(fastrand::u64(100..3_000))).await;
                proxy.set_silent(false);
                Ok(())
            }
            Disruption::Delay => {
                proxy.set_delay(Duration::from_millis(fastrand::u64(1..30)));
                sleep(Duration::from_millis(fastrand::u64(100..3_000))).await;
                proxy.set_delay(Duration::ZERO);
                Ok(())
            }
            Disruption::KillProcess => {
                fleet.replace(index).await;
                Ok(())
            }
            Disruption::KillBackend => self.kill_backend().await,
            Disruption::Restart(how) => {
                self.server.restart(how).await;
                Ok(())
            }
        };
        match result {
            Ok(()) => lock(&self.log.chaos).add(&disruption.name(), &"times", 1),
            Err(error) => {
                lock(&self.log.violations).push(format!("chaos: {}: {error}", disruption.name()));
            }
        }
    }

    /// Calls a function on random backends of the processes.
    async fn to_backends(&self, action: &str, condition: &str, most: u32) -> Result<(), String> {
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

    /// Kills a backend, as the system does when it runs out of memory. The server then ends every
    /// session and recovers.
    async fn kill_backend(&self) -> Result<(), String> {
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
            // Our own session ends as well, so it is not closed.
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("`kill`: {other:?}")),
        }
    }

    /// A direct connection, once the server accepts it.
    async fn connection(&self) -> Result<PgConnection, String> {
        let deadline = Instant::now() + RESTART_TIMEOUT;
        loop {
            match self.database.connect().await {
                Ok(conn) => return Ok(conn),
                Err(error) if Instant::now() > deadline => return Err(error.to_string()),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}
