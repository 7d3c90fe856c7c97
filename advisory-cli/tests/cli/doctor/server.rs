//! The server, its lock table, and a pooler before it.

use advisory_core::lock;
use advisory_tests::{Database, Pooler, Pooling, Server};

use super::diagnosis::diagnose;
use crate::command::{advisory, assert_contains};

#[tokio::test]
async fn every_check_passes_on_a_fresh_server() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let diagnosis = diagnose(&database.options()).await;
    assert_eq!(diagnosis.complaints(), Vec::<&str>::new());
    assert_eq!(diagnosis.code, 0);
    diagnosis.assert_says("transaction lock", "pass", "others are kept out", "");
    diagnosis.assert_says("session lock", "pass", "is a session", "");
    diagnosis.assert_says("pooler", "pass", "none", "");
    diagnosis.assert_says("tcp_keepalives", "pass", "Unix-domain", "");
    database
        .wait_until_backends("the doctor has gone", <[_]>::is_empty)
        .await;
}

#[tokio::test]
async fn a_standby_is_not_fit() {
    let primary = Server::start().unwrap();
    let database = Database::on(&primary).await;
    let standby = primary.standby().unwrap();
    let diagnosis = diagnose(&Database::at(&standby, &database).options()).await;
    assert_eq!(diagnosis.code, 1);
    for check in ["primary", "transaction lock", "session lock"] {
        diagnosis.assert_says(check, "fail", "standby", "connect to the primary");
    }
    let interval = "client_connection_check_interval";
    diagnosis.assert_says(interval, "warn", "cannot tell", "");
    let outcome = advisory(&Database::at(&standby, &database), &["doctor"]).await;
    assert_eq!(outcome.code, 1);
    let summary = "not fit for every advisory lock: 3 faults, 1 warning";
    assert_contains(outcome.text(), &["✗ fail", summary]);
}

#[tokio::test]
async fn behind_a_pooler_in_transaction_mode_a_transaction_holds_session_locks() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    for backends in [1, 3] {
        let pooler = Pooler::try_start(&database, Pooling::Transaction, backends).await;
        let Some(pooler) = pooler else { return };
        let diagnosis = diagnose(&pooler.options()).await;
        assert_eq!(diagnosis.code, 0, "{:?}", diagnosis.checks);
        let found = "for a transaction at a time";
        diagnosis.assert_says("pooler", "warn", found, "past the pooler");
        diagnosis.assert_says("session lock", "pass", "held by an idle transaction", "");
        let status = &diagnosis.checks["transaction lock"]["status"];
        assert_eq!(status, if backends == 1 { "warn" } else { "pass" });
    }
}

#[tokio::test]
async fn behind_a_pooler_in_statement_mode_no_lock_works() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let pooler = Pooler::try_start(&database, Pooling::Statement, 3).await;
    let Some(pooler) = pooler else { return };
    let diagnosis = diagnose(&pooler.options()).await;
    assert_eq!(diagnosis.code, 1, "{:?}", diagnosis.checks);
    diagnosis.assert_says("session lock", "fail", "statement mode", "transaction mode");
    assert_eq!(diagnosis.checks["transaction lock"]["status"], "fail");
}

#[tokio::test]
async fn behind_a_pooler_in_session_mode_every_check_passes() {
    let server = Server::start().unwrap();
    let database = Database::on(&server).await;
    let pooler = Pooler::try_start(&database, Pooling::Session, 5).await;
    let Some(pooler) = pooler else { return };
    let diagnosis = diagnose(&pooler.options()).await;
    assert_eq!(diagnosis.complaints(), Vec::<&str>::new());
    // The pooler is detected once it reuses a session, which is its own choice.
    let mut diagnosis = diagnosis;
    for _ in 0..20 {
        if diagnosis.checks["pooler"]["found"] != "none to be seen" {
            break;
        }
        diagnosis = diagnose(&pooler.options()).await;
    }
    diagnosis.assert_says("pooler", "pass", "there is one", "");
    assert_eq!(diagnosis.code, 0);
}

#[tokio::test]
async fn a_lock_table_more_than_half_full_is_a_warning() {
    let settings = [
        ("max_locks_per_transaction", "10"),
        ("max_connections", "20"),
        ("max_prepared_transactions", "0"),
        ("autovacuum", "off"),
    ];
    let server = Server::start_with(&settings).unwrap();
    let database = Database::on(&server).await;
    let mut holder = database.connection().await;
    for key in 0..90 {
        lock(&mut holder, key).await.unwrap();
    }
    let diagnosis = diagnose(&database.options()).await;
    let found = "90 of 200 entries used (45 %), room for 110";
    diagnosis.assert_says("lock table", "pass", found, "");
    for key in 90..130 {
        lock(&mut holder, key).await.unwrap();
    }
    let diagnosis = diagnose(&database.options()).await;
    let found = "130 of 200 entries used (65 %), room for 70";
    let advice = "raise `max_locks_per_transaction`";
    diagnosis.assert_says("lock table", "warn", found, advice);
    assert_eq!(diagnosis.code, 0);
}
