//! The privileges of the role.

use super::check::Check;
use crate::sql::Rights;

pub(super) fn checks(rights: &Rights, role: &str) -> [Check; 2] {
    let check = |name, is_member: bool, may: &str, may_only: &str, advice: &str| {
        if !is_member {
            let advice = format!("`GRANT {name} TO {role}`, {advice}");
            return Check::warn(name, format!("{role} {may_only}"), advice);
        }
        let superuser = if rights.is_superuser {
            ", a superuser,"
        } else {
            ""
        };
        Check::pass(name, format!("{role}{superuser} {may}"))
    };
    [
        check(
            "pg_read_all_stats",
            rights.sees_others,
            "sees the queries of every session",
            "sees who holds and who waits, and the queries of its own sessions only",
            "or pg_monitor, to a role that looks after locks",
        ),
        check(
            "pg_signal_backend",
            rights.signals_others,
            "may cancel and terminate others' sessions",
            "may cancel and terminate its own sessions only",
            "to a role that looks after locks",
        ),
    ]
}
