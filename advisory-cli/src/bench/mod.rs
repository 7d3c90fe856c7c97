//! `advisory bench`: the cost of locks on a server.

mod latency;
mod progress;
mod report;
mod throughput;

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, value_parser};
use sqlx::postgres::PgPool;

use self::progress::Progress;
use self::report::Report;
use crate::exit::Failure;
use crate::server::Server;
use crate::{output, sql};

/// The number of measurements, which share the time equally.
const MEASUREMENTS: u32 = 6;

#[derive(Args)]
pub(crate) struct Bench {
    /// How long all measurements take together, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = value_parser!(u16).range(1..))]
    seconds: u16,
    /// The number of connections that lock at the same time.
    #[arg(long, value_name = "N", default_value = "4")]
    connections: NonZeroU32,
    /// Print an object of `server`, `seconds`, `connections`, `latency` and `throughput`; times are
    /// in microseconds.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(crate) async fn run(self, server: &Server) -> Result<ExitCode, Failure> {
        let report = self.measure(&self.pool(server).await?).await?;
        if self.json {
            output::print_json(&report)?;
        } else {
            report::print(&report)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// A pool without sqlx's ping before each use, which is not part of a lock.
    async fn pool(&self, server: &Server) -> Result<PgPool, Failure> {
        // One connection more holds the lock that others try, and serves the library's probe.
        let connections = self.connections.get().saturating_add(1).max(2);
        let pool = server.connect(connections).await?;
        let options = pool.options().clone().test_before_acquire(false);
        let connect = pool.connect_options().as_ref().clone();
        pool.close().await;
        Ok(options.connect_lazy_with(connect))
    }

    /// Every lock is on a random key, so that no other session is affected.
    async fn measure(&self, pool: &PgPool) -> Result<Report, Failure> {
        let time = Duration::from_secs(self.seconds.into()) / MEASUREMENTS;
        let connections = self.connections.get();
        let version = sql::identity(&mut *pool.acquire().await?).await?.version;
        let progress = Progress::start(MEASUREMENTS.into());
        let report = Report {
            server: version,
            seconds: self.seconds,
            connections,
            latency: latency::measure(pool, time, &progress).await?,
            throughput: throughput::measure(pool, connections, time, &progress).await?,
        };
        progress.finish();
        Ok(report)
    }
}
