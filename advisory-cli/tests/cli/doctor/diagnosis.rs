//! The output of `doctor`.

use std::collections::BTreeMap;

use advisory_tests::Database;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;

use crate::command::{advisory_as, assert_contains};

/// The exit code, and each check by name.
pub(crate) struct Diagnosis {
    pub(crate) code: i32,
    pub(crate) checks: BTreeMap<String, Value>,
}

pub(crate) async fn diagnose(options: &PgConnectOptions) -> Diagnosis {
    let outcome = advisory_as(options, &["doctor", "--json"]).await;
    assert_eq!(outcome.stderr, "");
    let checks: Vec<Value> = serde_json::from_str(outcome.text()).unwrap();
    let checks = checks.into_iter();
    Diagnosis {
        code: outcome.code,
        checks: checks
            .map(|check| (check["check"].as_str().unwrap().to_owned(), check))
            .collect(),
    }
}

impl Diagnosis {
    /// The names of the checks that do not pass.
    pub(crate) fn complaints(&self) -> Vec<&str> {
        let complaints = self
            .checks
            .iter()
            .filter(|(_, check)| check["status"] != "pass");
        complaints.map(|(name, _)| &**name).collect()
    }

    #[track_caller]
    pub(crate) fn assert_says(&self, name: &str, status: &str, found: &str, advice: &str) {
        let check = &self.checks[name];
        assert_eq!(check["status"], status, "{check}");
        // A line of the server's source code.
        assert!(!check.to_string().contains("at line"), "{check}");
        assert_contains(check["found"].as_str().unwrap(), &[found]);
        assert_contains(check["advice"].as_str().unwrap_or(""), &[advice]);
    }
}

/// Changes a setting of the database's role.
pub(crate) async fn set(database: &Database, setting: &str) {
    let alter = format!("ALTER ROLE {} SET {setting}", database.name());
    database.execute(alter).await;
}
