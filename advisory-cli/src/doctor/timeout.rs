//! Timeouts of the server that end a wait or take a lock away.

use super::check::Check;
use crate::sql::{Identity, Setting, Settings};

/// A timeout, its effect on locks if it is set, and what to do about it.
struct Timeout {
    name: &'static str,
    effect: &'static str,
    remedy: &'static str,
}

const TIMEOUTS: [Timeout; 5] = [
    Timeout {
        name: "statement_timeout",
        effect: "ends a wait with an error, and a long statement under a lock",
        remedy: "give the lock a shorter timeout of its own",
    },
    Timeout {
        name: "lock_timeout",
        effect: "ends every wait that has no timeout of its own",
        remedy: "give the lock a timeout of its own, or `wait_forever`",
    },
    Timeout {
        name: "idle_in_transaction_session_timeout",
        effect: "takes a transaction lock away from work that sends nothing to the server for that long",
        remedy: "hold a session lock around such work",
    },
    Timeout {
        name: "idle_session_timeout",
        effect: "takes a session lock away from a program that, unlike this library, does not switch it off",
        remedy: "take session locks with this library",
    },
    Timeout {
        name: "transaction_timeout",
        effect: "takes a transaction lock away from work that takes longer",
        remedy: "hold a session lock around such work",
    },
];

pub(super) fn checks(settings: &Settings, identity: &Identity) -> Vec<Check> {
    let check = |timeout| check(timeout, settings.get(timeout.name), identity);
    TIMEOUTS.iter().map(check).collect()
}

fn check(timeout: &Timeout, setting: Option<&Setting>, identity: &Identity) -> Check {
    match setting {
        None => Check::pass(timeout.name, "not there before PostgreSQL 17"),
        Some(setting) if setting.value == "0" => Check::pass(timeout.name, "off"),
        Some(setting) => {
            let found = format!("{}: {}", setting.text, timeout.effect);
            let Identity { role, database, .. } = identity;
            let off = switch_off(timeout.name, &setting.source, role, database);
            Check::warn(timeout.name, found, format!("{}; or {off}", timeout.remedy))
        }
    }
}

/// How to switch off a timeout, which depends on the source of its setting.
fn switch_off(name: &str, source: &str, role: &str, database: &str) -> String {
    match source {
        "user" => format!("`ALTER ROLE {role} RESET {name}`"),
        "database" => format!("`ALTER DATABASE {database} RESET {name}`"),
        "database user" => format!("`ALTER ROLE {role} IN DATABASE {database} RESET {name}`"),
        "client" => "take it out of the connection's own options".to_owned(),
        _ => format!("`ALTER ROLE {role} SET {name} = 0`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_depends_on_the_source_of_the_setting() {
        for (source, remedy) in [
            ("user", "`ALTER ROLE app RESET lock_timeout`"),
            ("database", "`ALTER DATABASE shop RESET lock_timeout`"),
            (
                "database user",
                "`ALTER ROLE app IN DATABASE shop RESET lock_timeout`",
            ),
            ("client", "take it out of the connection's own options"),
            (
                "configuration file",
                "`ALTER ROLE app SET lock_timeout = 0`",
            ),
        ] {
            assert_eq!(switch_off("lock_timeout", source, "app", "shop"), remedy);
        }
    }
}
