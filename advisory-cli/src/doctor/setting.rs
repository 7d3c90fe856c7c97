//! Settings that change what is seen under a lock, or of one.

use super::check::Check;
use crate::sql::{Identity, Settings};

pub(super) fn check(settings: &Settings, identity: &Identity) -> Vec<Check> {
    [
        isolation,
        track_activities,
        deadlock_timeout,
        log_lock_waits,
    ]
    .iter()
    .map(|check| check(settings, identity))
    .collect()
}

fn isolation(settings: &Settings, identity: &Identity) -> Check {
    let name = "default_transaction_isolation";
    let level = text(settings, name);
    if level == "read committed" {
        return Check::pass(name, level);
    }
    Check::warn(
        name,
        format!("{level}: a snapshot is older than the lock it was waiting for"),
        format!(
            "open transactions with `AdvisoryLock::isolation`; or `ALTER ROLE {} SET {name} = 'read committed'`",
            identity.role
        ),
    )
}

fn track_activities(settings: &Settings, _: &Identity) -> Check {
    let name = "track_activities";
    if text(settings, name) == "on" {
        return Check::pass(name, "on");
    }
    Check::warn(
        name,
        "off: `cancel_via` finds no wait, and `ls` shows no state and no query",
        "have an administrator switch it on",
    )
}

fn deadlock_timeout(settings: &Settings, _: &Identity) -> Check {
    let name = "deadlock_timeout";
    let found = format!(
        "{}: so long a wait before a deadlock is looked for",
        text(settings, name)
    );
    Check::pass(name, found)
}

fn log_lock_waits(settings: &Settings, _: &Identity) -> Check {
    let name = "log_lock_waits";
    let found = match text(settings, name) {
        "on" => "on: waits longer than `deadlock_timeout` are in the server's log",
        _ => "off: long waits are not in the server's log",
    };
    Check::pass(name, found)
}

fn text<'s>(settings: &'s Settings, name: &str) -> &'s str {
    settings
        .get(name)
        .map_or("unknown", |setting| &*setting.text)
}
