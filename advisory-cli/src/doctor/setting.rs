//! Settings that affect locks, apart from timeouts.

use super::check::Check;
use crate::sql::{Identity, Settings};

/// A failover should not wait longer than this for the locks of a machine that has vanished.
const MAX_KEEPALIVE_SECONDS: u64 = 300;

pub(super) fn checks(settings: &Settings, identity: &Identity) -> [Check; 5] {
    let text = |name| settings.get(name).map_or("unknown", |found| &*found.text);
    let keepalive = if identity.is_local {
        Check::pass("tcp_keepalives", "not needed on a Unix-domain socket")
    } else {
        keepalive(keepalive_seconds(settings))
    };
    [
        keepalive,
        isolation(text("default_transaction_isolation"), &identity.role),
        track_activities(text("track_activities")),
        deadlock_timeout(text("deadlock_timeout")),
        log_lock_waits(text("log_lock_waits")),
    ]
}

/// The server reports the values of the connection, with the system's defaults. A value that it
/// does not know is 0.
fn keepalive_seconds(settings: &Settings) -> Option<u64> {
    let number = |name| -> Option<u64> {
        let number = settings.get(name)?.value.parse().ok();
        number.filter(|&number| number > 0)
    };
    let probes = number("tcp_keepalives_interval")? * number("tcp_keepalives_count")?;
    Some(number("tcp_keepalives_idle")? + probes)
}

/// Checks how long the server takes to notice that the machine of a client has vanished.
fn keepalive(seconds: Option<u64>) -> Check {
    let name = "tcp_keepalives";
    let found = match seconds {
        Some(seconds @ ..=MAX_KEEPALIVE_SECONDS) => {
            let found = format!("a machine that vanishes keeps its locks for at most {seconds} s");
            return Check::pass(name, found);
        }
        Some(seconds) => {
            let minutes = seconds.div_ceil(60);
            format!("a machine that vanishes keeps its locks for {minutes} min")
        }
        None => "the server cannot say how soon it notices that a machine has gone".to_owned(),
    };
    let advice = "set `tcp_keepalives_idle` = 60, `tcp_keepalives_interval` = 10 and \
                  `tcp_keepalives_count` = 6 on the server, for the role, or in the connection's \
                  `options`";
    Check::warn(name, found, advice)
}

fn isolation(level: &str, role: &str) -> Check {
    let name = "default_transaction_isolation";
    if level == "read committed" {
        return Check::pass(name, level);
    }
    Check::warn(
        name,
        format!("{level}: the snapshot of a transaction may be older than its lock"),
        format!(
            "open transactions with `AdvisoryLock::isolation`; \
             or `ALTER ROLE {role} SET {name} = 'read committed'`"
        ),
    )
}

fn track_activities(value: &str) -> Check {
    let name = "track_activities";
    if value == "on" {
        return Check::pass(name, "on");
    }
    Check::warn(
        name,
        "off: `cancel_via` finds no wait, and `ls` shows no state and no query",
        "have an administrator switch it on",
    )
}

fn deadlock_timeout(value: &str) -> Check {
    let found = format!("{value}: so long a wait before a deadlock is looked for");
    Check::pass("deadlock_timeout", found)
}

fn log_lock_waits(value: &str) -> Check {
    let found = match value {
        "on" => "on: waits longer than `deadlock_timeout` are in the server's log",
        _ => "off: long waits are not in the server's log",
    };
    Check::pass("log_lock_waits", found)
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    #[test]
    fn keepalives_of_two_minutes_pass() {
        assert_eq!(keepalive(Some(120)).status, Status::Pass);
        assert_eq!(keepalive(None).status, Status::Warn);
        let of_linux = keepalive(Some(7200 + 9 * 75)).found;
        assert!(of_linux.ends_with("for 132 min"), "{of_linux}");
    }
}
