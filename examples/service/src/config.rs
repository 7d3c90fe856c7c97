//! What can be set, by argument or by environment.

use std::net::SocketAddr;
use std::process;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use tracing_subscriber::filter::Targets;

/// A web service with advisory locks.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// The database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// Where to listen; port 0 is any that is free.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// What this instance is called in `pg_stat_activity` and among the heartbeats.
    #[arg(long, env = "INSTANCE", default_value_t = format!("service-{}", process::id()))]
    pub(crate) instance: String,
    /// How many connections requests may use; leadership has two of its own.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    pub(crate) max_connections: u32,
    /// Seconds that a delivery waits for its turn, and for a connection.
    #[arg(long, env = "TURN", default_value = "5", value_parser = seconds)]
    pub(crate) turn: Duration,
    /// Seconds between two tries to become the leader.
    #[arg(long, env = "STAND_EVERY", default_value = "5", value_parser = seconds)]
    pub(crate) stand_every: Duration,
    /// Seconds after which a leader gives up, and stands again.
    #[arg(long, env = "TERM_OF_OFFICE", default_value = "3600", value_parser = seconds)]
    pub(crate) term: Duration,
    /// Seconds between two sweeps of the leader.
    #[arg(long, env = "SWEEP_EVERY", default_value = "60", value_parser = seconds)]
    pub(crate) sweep_every: Duration,
    /// Seconds that a delivery is remembered.
    #[arg(long, env = "KEEP", default_value = "2592000", value_parser = seconds)]
    pub(crate) keep: Duration,
    /// Seconds that requests have to finish when the service is told to end.
    #[arg(long, env = "GRACE", default_value = "10", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// What to log. A wait for a lock is no slow statement, so those of sqlx are left out.
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,advisory_core=debug,sqlx::query=error"
    )]
    pub(crate) log: Targets,
}

/// More than thirty years are no time to wait, and too much for some clocks.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.0..=1e9).contains(seconds));
    let seconds = seconds.map(Duration::from_secs_f64);
    seconds.ok_or_else(|| "expected a number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_argument_is_well_made() {
        Config::command().debug_assert();
    }

    #[test]
    fn seconds_may_be_fractions_but_not_negative() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err() && seconds("NaN").is_err());
    }
}
