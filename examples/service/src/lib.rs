//! A web service with advisory locks, as one may be in production: each delivery of a webhook is
//! dealt with once, one instance of the fleet leads and sweeps, health and metrics tell the truth,
//! and an instance that is told to end does so in order.
//!
//! | room | what it is for |
//! |---|---|
//! | `webhook`, `provider` | deliveries, under the attribute with `tx` |
//! | `leader`, `sweep` | a session lock, `until_lost`, a fencing token |
//! | `schema` | migration at start-up, under a lock |
//! | `problem` | errors become answers |
//! | `health`, `metric`, `log` | what is to be seen |
//! | `config`, `pool`, `router`, `end` | what every service needs |

mod config;
mod end;
mod health;
mod leader;
mod log;
mod metric;
mod pool;
mod problem;
mod provider;
mod router;
mod schema;
mod sweep;
mod webhook;

use std::error::Error;
use std::time::Duration;

use axum::serve;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

pub use crate::config::Config;

use crate::end::End;
use crate::leader::Candidate;
use crate::pool::Pools;

/// How long connections may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves until a SIGTERM or Ctrl-C, and ends in order: accepts nothing more, lets requests finish,
/// gives up leadership.
///
/// # Errors
///
/// If it cannot start.
pub async fn run(config: Config) -> Result<(), Box<dyn Error + Send + Sync>> {
    log::start(config.log.clone());
    let metrics = metric::install()?;
    let end = End::on_signal()?;
    let pools = Pools::open(&config).await?;
    schema::migrate(&pools.work).await?;
    let router = router::router(&config, &pools, metrics);
    let listener = TcpListener::bind(config.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let candidate = Candidate::new(&config, &pools);
    let work = async {
        let server = serve(listener, router).with_graceful_shutdown(end.clone().come());
        tokio::join!(server, candidate.stand(&end)).0
    };
    let too_late = async {
        end.clone().come().await;
        sleep(config.grace).await;
    };
    tokio::select! {
        served = work => {
            served?;
            // What is still open goes with the process.
            let _ = timeout(FAREWELL, pools.close()).await;
        }
        // Their futures go with the runtime, and their locks with their connections.
        () = too_late => tracing::warn!("not everything was done in time; it is cut off"),
    }
    Ok(())
}
