//! The privileges of the role.

use super::check::Check;
use crate::sql::Rights;

pub(super) fn checks(rights: &Rights, role: &str) -> [Check; 2] {
    let subject = if rights.is_superuser {
        format!("{role}, a superuser,")
    } else {
        role.to_owned()
    };
    [
        sees(rights, role, &subject),
        signals(rights, role, &subject),
    ]
}

fn sees(rights: &Rights, role: &str, subject: &str) -> Check {
    let name = "pg_read_all_stats";
    if rights.sees_others {
        return Check::pass(name, format!("{subject} sees the queries of every session"));
    }
    Check::warn(
        name,
        format!("{role} sees who holds and who waits, and the queries of its own sessions only"),
        format!("`GRANT {name} TO {role}`, or pg_monitor, to a role that looks after locks"),
    )
}

fn signals(rights: &Rights, role: &str, subject: &str) -> Check {
    let name = "pg_signal_backend";
    if rights.signals_others {
        let found = format!("{subject} may cancel and terminate others' sessions");
        return Check::pass(name, found);
    }
    Check::warn(
        name,
        format!("{role} may cancel and terminate its own sessions only"),
        format!("`GRANT {name} TO {role}`, to a role that looks after locks"),
    )
}
