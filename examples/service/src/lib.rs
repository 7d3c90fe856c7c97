//! A web service that uses advisory locks as a service in production would. Each delivery of a
//! webhook is processed once, one instance of the fleet is the leader and sweeps, and an instance
//! that receives SIGTERM shuts down gracefully.
//!
//! | module | purpose |
//! |---|---|
//! | `webhook`, `provider` | deliveries, with the attribute and `tx` |
//! | `tenant` | a lock for each tenant, all of them on one session |
//! | `leader`, `sweep` | leader election, with `lead` and a fencing token |
//! | `report` | a job that runs once per period, with `every` |
//! | `schema` | migration at start-up, under a lock |
//! | `jsonb` | which JSON the tables can store |
//! | `problem` | conversion of errors into responses |
//! | `health`, `metric`, `log` | health checks, metrics and logs |
//! | `config`, `pool`, `router`, `shutdown` | settings, connections, routes and shutdown |

mod config;
mod health;
mod jsonb;
mod leader;
mod log;
mod metric;
mod pool;
mod problem;
mod provider;
mod report;
mod router;
mod schema;
mod shutdown;
mod sweep;
mod tenant;
mod webhook;

use std::error::Error;
use std::time::Duration;

use axum::serve;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

pub use crate::config::Config;

use crate::leader::Candidate;
use crate::pool::Pools;
use crate::report::Reporter;
use crate::shutdown::Shutdown;

/// How long the pools may take to close their connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or Ctrl-C, and then shuts down gracefully: accepts no more connections,
/// lets requests finish, and releases leadership. A signal also ends a start that has to wait.
///
/// # Errors
///
/// Returns an error if the service cannot start, or if the server fails.
pub async fn run(config: Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    log::start(config.log.clone());
    let metrics = metric::install()?;
    let shutdown = Shutdown::on_signal()?;
    let opened = shutdown.run_until_requested(open(&config)).await;
    let Some(pools) = opened.transpose()? else {
        return Ok(());
    };
    let router = router::router(&config, &pools, metrics);
    let listener = TcpListener::bind(config.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let candidate = Candidate::new(&config, &pools);
    let reporter = Reporter::new(&config, &pools);
    let work = async {
        let server = serve(listener, router).with_graceful_shutdown(shutdown.clone().requested());
        let reports = shutdown.run_until_requested(reporter.run());
        tokio::join!(server, candidate.run(&shutdown), reports).0
    };
    let grace_expired = async {
        shutdown.clone().requested().await;
        sleep(config.grace).await;
    };
    tokio::select! {
        served = work => {
            served?;
            // Connections that are still open are closed with the process.
            let _ = timeout(CLOSE_TIMEOUT, pools.close()).await;
        }
        // The runtime drops the remaining futures, which closes their connections and releases
        // their locks.
        () = grace_expired => tracing::warn!("grace period expired; open requests are dropped"),
    }
    Ok(())
}

/// Connects, and creates the tables. This waits while another instance creates them.
async fn open(config: &Config) -> Result<Pools, advisory_core::Error> {
    let pools = Pools::open(config).await?;
    schema::migrate(&pools.work).await?;
    Ok(pools)
}
