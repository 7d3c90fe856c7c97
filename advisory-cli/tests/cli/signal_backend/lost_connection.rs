//! The command loses its own connection.

use advisory_tests::{Cut, Database, Proxy, Side};
use sqlx::Connection as _;

use super::session::holder;
use crate::command::advisory_as;

/// The connection is cut after every message of the server, one run after the other.
#[tokio::test]
async fn the_report_says_what_became_of_the_holder_although_the_connection_was_lost() {
    let database = Database::new().await;
    let proxy = Proxy::start(&database).await;
    let mut reports = 0;
    for message in 1.. {
        let (conn, pid) = holder(&database, "nightly").await;
        proxy.cut_after(Side::Server, message, Cut::Fin);
        let outcome = advisory_as(&proxy.options(), &["terminate", &pid, "--yes"]).await;
        let has_cut = proxy.has_cut();
        proxy.disarm();
        let is_reported = outcome.text().contains(&format!("terminated {pid}\n"));
        let is_gone = database.advisory_locks().await.is_empty();
        assert_eq!(is_reported, is_gone, "message {message}: {outcome:?}");
        assert_eq!(
            is_reported,
            outcome.code == 0,
            "message {message}: {outcome:?}"
        );
        reports += usize::from(is_reported && has_cut);
        if !has_cut {
            break;
        }
        let _ = conn.close().await;
        database.wait_until_held(0).await;
    }
    assert!(reports > 3, "{reports}");
}
