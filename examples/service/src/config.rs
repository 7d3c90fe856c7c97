//! The settings, from arguments or environment variables.

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
    /// The URL of the database.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// The address to listen on; port 0 selects a free port.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The name of this instance in `pg_stat_activity` and in the heartbeats.
    #[arg(long, env = "INSTANCE", default_value_t = format!("service-{}", process::id()))]
    pub(crate) instance: String,
    /// The number of connections for requests; leadership has two more.
    #[arg(long, env = "MAX_CONNECTIONS", default_value_t = 10, value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    pub(crate) max_connections: u32,
    /// Seconds that a delivery may wait for its lock, including the wait for a connection.
    #[arg(long, env = "TURN", default_value = "5", value_parser = seconds)]
    pub(crate) turn: Duration,
    /// Seconds between two attempts to become the leader.
    #[arg(long, env = "STAND_EVERY", default_value = "5", value_parser = seconds)]
    pub(crate) stand_every: Duration,
    /// Seconds after which a leader releases leadership and becomes a candidate again.
    #[arg(long, env = "TERM_OF_OFFICE", default_value = "3600", value_parser = seconds)]
    pub(crate) term: Duration,
    /// Seconds between two sweeps by the leader.
    #[arg(long, env = "SWEEP_EVERY", default_value = "60", value_parser = seconds)]
    pub(crate) sweep_every: Duration,
    /// Seconds in the period of a report, of which each has one in the whole fleet.
    #[arg(long, env = "REPORT_EVERY", default_value = "86400", value_parser = seconds)]
    pub(crate) report_every: Duration,
    /// Seconds that a delivery is kept.
    #[arg(long, env = "KEEP", default_value = "2592000", value_parser = seconds)]
    pub(crate) keep: Duration,
    /// Seconds that requests have to finish after shutdown is requested.
    #[arg(long, env = "GRACE", default_value = "10", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// The log filter. A wait for a lock is not a slow statement, so sqlx's warnings are off.
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,advisory_core=debug,sqlx::query=error"
    )]
    pub(crate) log: Targets,
}

/// Parses a number of seconds. The limit of about thirty years avoids an overflow of the clock.
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
    fn arguments_are_valid() {
        Config::command().debug_assert();
    }

    #[test]
    fn seconds_may_be_fractions_but_not_negative() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("-1").is_err() && seconds("soon").is_err() && seconds("NaN").is_err());
    }
}
