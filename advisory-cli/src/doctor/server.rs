//! The version and the role of the server.

use super::check::Check;
use crate::sql::Identity;

/// The major versions with which the library is tested.
const OLDEST: i32 = 14;
const NEWEST: i32 = 18;

pub(super) fn checks(identity: &Identity) -> [Check; 2] {
    [
        version(&identity.version, identity.version_number),
        primary(identity.is_standby),
    ]
}

fn version(version: &str, number: i32) -> Check {
    let name = "server version";
    let found = format!("PostgreSQL {version}");
    match number / 10_000 {
        ..OLDEST => Check::fail(
            name,
            format!("{found}, which is older than {OLDEST}"),
            format!("upgrade to PostgreSQL {OLDEST} or later"),
        ),
        OLDEST..=NEWEST => Check::pass(name, found),
        _ => Check::warn(
            name,
            format!("{found}, which is newer than this program was tested with"),
            "it should work; look for a version of this program that is tested with it",
        ),
    }
}

fn primary(is_standby: bool) -> Check {
    if is_standby {
        let found = "a standby, whose locks bind nobody on the primary or on other standbys";
        let advice = "connect to the primary (a writer endpoint)";
        return Check::fail("primary", found, advice);
    }
    Check::pass("primary", "not a standby")
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    #[test]
    fn versions_are_supported_from_14_to_18() {
        let status = |number| version("", number).status;
        assert_eq!(status(130_022), Status::Fail);
        assert_eq!(status(140_000), Status::Pass);
        assert_eq!(status(180_004), Status::Pass);
        assert_eq!(status(190_000), Status::Warn);
    }

    #[test]
    fn an_old_version_is_named_with_the_oldest_supported_one() {
        let check = version("13.22", 130_022);
        assert_eq!(check.found, "PostgreSQL 13.22, which is older than 14");
        assert_eq!(check.advice.unwrap(), "upgrade to PostgreSQL 14 or later");
    }
}
