//! How soon the server notices that the machine of a client has gone, and frees its locks.

use std::time::Duration;

use super::check::Check;
use crate::sql::{Identity, Settings};

const NAME: &str = "tcp_keepalives";

/// Longer than a failover should have to wait for a lock.
const LONG: Duration = Duration::from_mins(5);

pub(super) fn check(settings: &Settings, identity: &Identity) -> Check {
    if identity.is_local {
        return Check::pass(NAME, "not needed on a Unix-domain socket");
    }
    let seconds = |name| number(settings, name);
    let noticed = seconds("tcp_keepalives_idle").and_then(|idle| {
        let interval = seconds("tcp_keepalives_interval")?;
        Some(Duration::from_secs(
            idle + interval * seconds("tcp_keepalives_count")?,
        ))
    });
    judge(noticed)
}

/// What the system says of the connection, its own defaults included; 0 where it says nothing.
fn number(settings: &Settings, name: &str) -> Option<u64> {
    settings.get(name)?.value.parse().ok().filter(|&n| n > 0)
}

fn judge(noticed: Option<Duration>) -> Check {
    let advice = "set `tcp_keepalives_idle` = 60, `tcp_keepalives_interval` = 10 and `tcp_keepalives_count` = 6 on the server, \
                  for the role, or in the connection's `options`";
    match noticed {
        None => Check::warn(
            NAME,
            "the server cannot say how soon it notices that a machine has gone",
            advice,
        ),
        Some(noticed) if noticed > LONG => Check::warn(
            NAME,
            format!(
                "a machine that vanishes keeps its locks for {} min",
                noticed.as_secs().div_ceil(60)
            ),
            advice,
        ),
        Some(noticed) => Check::pass(
            NAME,
            format!(
                "a machine that vanishes keeps its locks for at most {} s",
                noticed.as_secs()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    #[test]
    fn the_defaults_of_linux_are_a_warning() {
        let check = judge(Some(Duration::from_secs(7200 + 9 * 75)));
        assert_eq!(check.status, Status::Warn);
        assert_eq!(
            check.found,
            "a machine that vanishes keeps its locks for 132 min"
        );
    }

    #[test]
    fn two_minutes_will_do() {
        assert_eq!(judge(Some(Duration::from_mins(2))).status, Status::Pass);
        assert_eq!(judge(None).status, Status::Warn);
    }
}
