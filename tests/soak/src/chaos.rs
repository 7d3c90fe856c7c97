//! Disruptions of the server, the network and the processes.

use std::sync::Arc;
use std::time::Duration;

use advisory_history::{Event, Recorder, now};
use advisory_tests::{Database, Server, Shutdown};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use crate::disruption::{self, Concerns, Disruption, Row};
use crate::fleet::{Fleet, Log, lock};

/// Why a disruption could not be caused.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How long the server may take to restart.
const RESTART_TIMEOUT: Duration = Duration::from_mins(1);

/// Whether a session is one of the processes, and can hold a lock.
const IS_OF_PROCESS: &str = "application_name ~ '^soak [0-9]+$'";

const TERMINATE: &str = "pg_terminate_backend(pid)";
const CANCEL: &str = "pg_cancel_backend(pid)";

/// Commits from now on are acknowledged when a standby has them on its disk.
const REPLICATE_SYNCHRONOUSLY: &str = "ALTER SYSTEM SET synchronous_standby_names = '*'";
const RELOAD: &str = "SELECT pg_reload_conf()";
const IS_SYNCHRONOUS: &str =
    "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state = 'sync')";

/// Disrupts the server, the network and the processes.
pub(crate) struct Chaos {
    server: Server,
    database: Database,
    log: Arc<Log>,
    recorder: Arc<Recorder>,
}

impl Chaos {
    pub(crate) fn new(
        server: Server,
        database: Database,
        log: Arc<Log>,
        recorder: Arc<Recorder>,
    ) -> Self {
        Self {
            server,
            database,
            log,
            recorder,
        }
    }

    /// The database on the server that is the primary now.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Causes one random disruption.
    pub(crate) async fn disrupt(&mut self, fleet: &mut Fleet) {
        let Row {
            disruption,
            concerns,
            name,
            ..
        } = disruption::random();
        let index = fastrand::usize(..fleet.members.len());
        let process = fleet.members[index].process;
        let at = now();
        let result = self.cause(*disruption, fleet, index).await;
        self.recorder.write(&Event::Fault {
            at,
            ended: now(),
            fault: (*name).to_owned(),
            process: (*concerns == Concerns::Process).then_some(process),
        });
        match result {
            Ok(()) => lock(&self.log.chaos).add(name, &"times", 1),
            Err(error) => {
                lock(&self.log.violations).push(format!("chaos: {name}: {error}"));
            }
        }
    }

    async fn cause(
        &mut self,
        disruption: Disruption,
        fleet: &mut Fleet,
        index: usize,
    ) -> Result<(), Failed> {
        let member = &fleet.members[index];
        let proxy = &member.proxy;
        match disruption {
            Disruption::Terminate => self.to_backends(TERMINATE, "true", 1).await,
            Disruption::TerminateAll => self.to_backends(TERMINATE, "true", 1000).await,
            Disruption::Cancel => self.to_backends(CANCEL, "state = 'active'", 1).await,
            Disruption::Cut(cut) => {
                proxy.cut(cut).await;
                Ok(())
            }
            Disruption::Silence | Disruption::LossInSilence => {
                proxy.set_silent(true);
                let terminated = self.terminate_if(disruption, member.process).await;
                sleep(Duration::from_millis(fastrand::u64(100..3_000))).await;
                proxy.set_silent(false);
                terminated
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
            Disruption::StopProcess | Disruption::LossWhileStopped => {
                member.signal(Signal::SIGSTOP);
                let terminated = self.terminate_if(disruption, member.process).await;
                sleep(Duration::from_millis(fastrand::u64(100..3_000))).await;
                member.signal(Signal::SIGCONT);
                terminated
            }
            Disruption::KillBackend => self.kill_backend().await,
            Disruption::Restart(how) => {
                self.server.restart(how).await;
                Ok(())
            }
            Disruption::FailOver => self.fail_over(fleet).await,
        }
    }

    /// Terminates the sessions of a process that cannot notice, if that is a part of the
    /// disruption.
    async fn terminate_if(&self, disruption: Disruption, process: u32) -> Result<(), Failed> {
        let is_lost = matches!(
            disruption,
            Disruption::LossInSilence | Disruption::LossWhileStopped
        );
        if !is_lost {
            return Ok(());
        }
        let of_process = format!("application_name = 'soak {process}'");
        self.to_backends(TERMINATE, &of_process, 1000).await
    }

    /// Kills the primary, and promotes a standby.
    ///
    /// Replication is synchronous before the kill, as in a system that must not lose a commit.
    /// Otherwise the standby may not have the last commits: PostgreSQL then loses what was written
    /// under a lock, and no lock can prevent it.
    async fn fail_over(&mut self, fleet: &Fleet) -> Result<(), Failed> {
        let standby = block_in_place(|| self.server.standby())?;
        standby.wait_until_replayed(&self.server).await;
        self.replicate_synchronously().await?;
        // Also what was acknowledged before replication was synchronous.
        standby.wait_until_replayed(&self.server).await;
        let database = Database::at(&standby, &self.database);
        for member in &fleet.members {
            member.set_target(&database);
        }
        self.server.stop(Shutdown::Kill).await;
        standby.promote().await;
        let old = std::mem::replace(&mut self.server, standby);
        self.database = database;
        block_in_place(|| drop(old));
        Ok(())
    }

    /// Returns when every commit of the primary waits for its standby.
    async fn replicate_synchronously(&self) -> Result<(), sqlx::Error> {
        let mut conn = self.server.options().connect().await?;
        conn.execute(REPLICATE_SYNCHRONOUSLY).await?;
        conn.execute(RELOAD).await?;
        while !sqlx::query_scalar(IS_SYNCHRONOUS)
            .fetch_one(&mut conn)
            .await?
        {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Calls a function on random backends of the processes.
    async fn to_backends(&self, action: &str, condition: &str, most: u32) -> Result<(), Failed> {
        let statement = format!(
            "SELECT {action} FROM (SELECT pid FROM pg_stat_activity \
             WHERE {IS_OF_PROCESS} AND {condition} ORDER BY random() LIMIT {most}) AS backends"
        );
        let mut conn = self.connection().await?;
        conn.execute(sqlx::AssertSqlSafe(statement)).await?;
        Ok(conn.close().await?)
    }

    /// Kills a backend, as the system does when it runs out of memory. The server then ends every
    /// session and recovers.
    async fn kill_backend(&self) -> Result<(), Failed> {
        let mut conn = self.connection().await?;
        let statement = format!(
            "SELECT pid FROM pg_stat_activity WHERE {IS_OF_PROCESS} ORDER BY random() LIMIT 1"
        );
        loop {
            let pid: Option<i32> = sqlx::query_scalar(sqlx::AssertSqlSafe(&*statement))
                .fetch_optional(&mut conn)
                .await?;
            let Some(pid) = pid else { return Ok(()) };
            match kill(Pid::from_raw(pid), Signal::SIGKILL) {
                // It has just ended by itself.
                Err(Errno::ESRCH) => {}
                killed => break killed?,
            }
        }
        // Our own session ends as well, so it is not closed. The fault is over when the server has
        // recovered.
        let ended = sqlx::query("SELECT pg_sleep(10)").execute(&mut conn);
        let _ = ended.await;
        self.connection().await?;
        Ok(())
    }

    /// A direct connection, once the server accepts it.
    async fn connection(&self) -> Result<PgConnection, sqlx::Error> {
        let deadline = Instant::now() + RESTART_TIMEOUT;
        let options = self.database.options().application_name("soak chaos");
        loop {
            match options.connect().await {
                Ok(conn) => return Ok(conn),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}
