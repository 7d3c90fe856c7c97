//! Settings that affect locks, apart from timeouts.

use std::time::Duration;

use super::check::Check;
use crate::sql::{Identity, Settings};

/// A failover should not wait longer than this for the locks of a machine that has vanished.
const MAX_KEEPALIVE: Duration = Duration::from_mins(5);

pub(super) fn checks(settings: &Settings, identity: &Identity) -> [Check; 5] {
    [
        tcp_keepalives(settings, identity.is_local),
        isolation(
            text(settings, "default_transaction_isolation"),
            &identity.role,
        ),
        track_activities(text(settings, "track_activities")),
        deadlock_timeout(text(settings, "deadlock_timeout")),
        log_lock_waits(text(settings, "log_lock_waits")),
    ]
}

fn text<'s>(settings: &'s Settings, name: &str) -> &'s str {
    settings
        .get(name)
        .map_or("unknown", |setting| &setting.text)
}

fn tcp_keepalives(settings: &Settings, is_local: bool) -> Check {
    if is_local {
        return Check::pass("tcp_keepalives", "not needed on a Unix-domain socket");
    }
    // The server reports the values of the connection, with the system's defaults. A value that it
    // does not know is 0.
    let number = |name| -> Option<u64> {
        let number = settings.get(name)?.value.parse().ok();
        number.filter(|&number| number > 0)
    };
    let seconds = number("tcp_keepalives_idle").and_then(|idle| {
        Some(idle + number("tcp_keepalives_interval")? * number("tcp_keepalives_count")?)
    });
    keepalive(seconds.map(Duration::from_secs))
}

/// Checks how long the server takes to notice that the machine of a client has vanished.
fn keepalive(limit: Option<Duration>) -> Check {
    let name = "tcp_keepalives";
    let advice = "set `tcp_keepalives_idle` = 60, `tcp_keepalives_interval` = 10 and \
                  `tcp_keepalives_count` = 6 on the server, for the role, or in the connection's \
                  `options`";
    match limit {
        None => Check::warn(
            name,
            "the server cannot say how soon it notices that a machine has gone",
            advice,
        ),
        Some(limit) if limit > MAX_KEEPALIVE => {
            let minutes = limit.as_secs().div_ceil(60);
            let found = format!("a machine that vanishes keeps its locks for {minutes} min");
            Check::warn(name, found, advice)
        }
        Some(limit) => {
            let seconds = limit.as_secs();
            let found = format!("a machine that vanishes keeps its locks for at most {seconds} s");
            Check::pass(name, found)
        }
    }
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
    fn the_keepalive_defaults_of_linux_are_a_warning() {
        let check = keepalive(Some(Duration::from_secs(7200 + 9 * 75)));
        assert_eq!(check.status, Status::Warn);
        let expected = "a machine that vanishes keeps its locks for 132 min";
        assert_eq!(check.found, expected);
    }

    #[test]
    fn keepalives_of_two_minutes_pass_and_unknown_ones_are_a_warning() {
        assert_eq!(keepalive(Some(Duration::from_mins(2))).status, Status::Pass);
        assert_eq!(keepalive(None).status, Status::Warn);
    }
}
