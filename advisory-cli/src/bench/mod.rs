//! `advisory bench`: what locks cost on this server.

mod latency;
mod progress;
mod report;
mod sample;
mod throughput;

use std::num::NonZeroU32;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, value_parser};
use serde::Serialize;
use sqlx::postgres::PgPool;

use self::progress::Progress;
use self::sample::Latency;
use self::throughput::Throughput;
use crate::exit::Failure;
use crate::server::Server;
use crate::{output, sql};

/// Short, and on keys of chance: nobody is kept out.
#[derive(Args)]
pub(crate) struct Bench {
    /// How long all of it may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = value_parser!(u16).range(1..))]
    seconds: u16,
    /// Connections that lock at the same time.
    #[arg(long, value_name = "N", default_value = "4")]
    connections: NonZeroU32,
    /// Print an object of `server`, `seconds`, `connections`, `latency` and `throughput`; times are in microseconds.
    #[arg(long)]
    json: bool,
}

/// All that was measured.
#[derive(Serialize)]
struct Figures {
    /// Its version.
    server: String,
    seconds: u16,
    connections: u32,
    latency: Vec<Latency>,
    throughput: Vec<Throughput>,
}

/// Things to measure, each for as long as the others.
const WORKS: u32 = 6;

impl Bench {
    pub(crate) async fn run(&self, server: &Server) -> Result<ExitCode, Failure> {
        let figures = self.measure(&self.pool(server).await?).await?;
        if self.json {
            output::json(&figures)?;
        } else {
            report::print(&figures)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Without the ping with which sqlx's pool asks, by default, whether a connection is alive: it is no part of a lock.
    async fn pool(&self, server: &Server) -> Result<PgPool, Failure> {
        // One more to hold what others try, and one for the library's look at the pool.
        let connections = self.connections.get().saturating_add(1).max(2);
        let pool = server.connect(connections).await?;
        let options = pool.options().clone().test_before_acquire(false);
        let connect = pool.connect_options().as_ref().clone();
        pool.close().await;
        Ok(options.connect_lazy_with(connect))
    }

    async fn measure(&self, pool: &PgPool) -> Result<Figures, Failure> {
        let each = Duration::from_secs(self.seconds.into()) / WORKS;
        let connections = self.connections.get();
        let version = sql::identity(&mut *pool.acquire().await?).await?.version;
        let progress = Progress::start(WORKS.into());
        let latency = latency::measure(pool, each, &progress).await?;
        let throughput = throughput::measure(pool, connections, each, &progress).await?;
        progress.end();
        Ok(Figures {
            server: version,
            seconds: self.seconds,
            connections,
            latency,
            throughput,
        })
    }
}
