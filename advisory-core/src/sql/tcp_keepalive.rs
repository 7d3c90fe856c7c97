//! The TCP keepalives of a connection that holds a lock, on the server's side.
//!
//! A machine that loses its power or its network says nothing, and the server's kernel waits for
//! hours before it takes the connection for dead. On a Unix-domain socket the settings have no
//! effect.

use std::time::Duration;

use crate::time_bounds::{DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_RESPONSE_TIMEOUT};

/// How many probes a kernel sends before it gives up.
const COUNT: u32 = 3;
/// Linux refuses more seconds.
const MOST_SECONDS: u64 = 32_767;
/// TCP sends a lost packet again after a fifth of a second at the earliest, so a shorter timeout
/// would end connections that have lost one packet.
const SHORTEST_USER_TIMEOUT: Duration = Duration::from_secs(2);

/// The settings, with their values in PostgreSQL's base units.
#[derive(Clone, Debug)]
pub(crate) struct TcpKeepalive {
    idle: u64,
    interval: u64,
    user_timeout: u128,
}

impl Default for TcpKeepalive {
    fn default() -> Self {
        Self::of(DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_RESPONSE_TIMEOUT)
    }
}

impl TcpKeepalive {
    /// The server's kernel probes a client that is silent for the keepalive interval, and gives up
    /// after the response timeout, as the client does with the server.
    pub(crate) fn of(keepalive_interval: Duration, response_timeout: Duration) -> Self {
        let interval = response_timeout.as_millis().div_ceil(u128::from(COUNT));
        let both = keepalive_interval.saturating_add(response_timeout);
        Self {
            idle: seconds(keepalive_interval.as_millis()),
            interval: seconds(interval),
            user_timeout: both.max(SHORTEST_USER_TIMEOUT).as_millis(),
        }
    }

    /// Sets all of them for the session; expressions, each after a comma.
    pub(super) fn columns(&self) -> String {
        let set = self
            .values()
            .map(|(name, value)| format!(",pg_catalog.set_config('{name}','{value}',false)"));
        set.concat()
    }

    /// The names and the values.
    ///
    /// The kernel applies the last one to data that the client does not acknowledge, and also to a
    /// client that acknowledges everything and reads nothing.
    pub(super) fn values(&self) -> [(&'static str, String); 4] {
        [
            ("tcp_keepalives_idle", self.idle.to_string()),
            ("tcp_keepalives_interval", self.interval.to_string()),
            ("tcp_keepalives_count", COUNT.to_string()),
            ("tcp_user_timeout", self.user_timeout.to_string()),
        ]
    }
}

/// Rounded up, in the range of the kernel.
fn seconds(milliseconds: u128) -> u64 {
    let seconds = u64::try_from(milliseconds.div_ceil(1000)).unwrap_or(MOST_SECONDS);
    seconds.clamp(1, MOST_SECONDS)
}

/// Sets them until the transaction ends; items of a target list.
pub(super) fn set_in_transaction() -> String {
    let set = TcpKeepalive::default().values();
    let set = set.map(|(name, value)| format!("pg_catalog.set_config('{name}','{value}',true)"));
    set.join(",")
}

/// Whether a lock was granted, which then sets the keepalives where the client comes over TCP; an
/// expression.
pub(super) fn set_if_granted(granted: &str) -> String {
    let set = set_in_transaction();
    format!(
        "CASE WHEN {granted} THEN pg_catalog.inet_client_addr() IS NULL OR ({set}) IS NOT NULL ELSE false END"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(keepalive_interval: Duration, response_timeout: Duration) -> [String; 4] {
        let keepalive = TcpKeepalive::of(keepalive_interval, response_timeout);
        keepalive.values().map(|(_, value)| value)
    }

    #[test]
    fn a_vanished_client_is_noticed_within_fifteen_seconds_if_nothing_is_set() {
        let [idle, interval, count, user_timeout] =
            values(DEFAULT_KEEPALIVE_INTERVAL, DEFAULT_RESPONSE_TIMEOUT)
                .map(|value| value.parse::<u64>().unwrap());
        assert!(idle + interval * (count + 1) < 15 && user_timeout < 15_000);
    }

    #[test]
    fn every_value_is_in_the_range_of_the_server() {
        let (short, long) = (Duration::from_millis(100), Duration::from_hours(24));
        assert_eq!(values(short, short), ["1", "1", "3", "2000"]);
        assert_eq!(values(long, long), ["32767", "28800", "3", "172800000"]);
    }
}
