//! A primary and its standby.

use std::time::Duration;

use advisory_tests::{Cut, Database, Proxy, Server, Shutdown};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use tokio::task::block_in_place;
use tokio::time::sleep;

pub(crate) struct Pair {
    pub(crate) primary: Node,
    pub(crate) standby: Node,
}

pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) database: Database,
}

/// The fault of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The primary is stopped.
    Stopped(Shutdown),
    /// The primary continues to run, and its clients receive nothing from it.
    Silence,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        // The interval at which a standby tries to reach its primary. The default is five seconds.
        let settings = [("wal_retrieve_retry_interval", "100ms")];
        let server = block_in_place(|| Server::start_with(&settings)).unwrap();
        let database = Database::on(&server).await;
        Self::of(Node { server, database })
    }

    /// Drops the old primary, makes the standby the primary, and starts a standby of the new
    /// primary.
    pub(crate) fn next(self) -> Self {
        let Self { primary, standby } = self;
        block_in_place(|| drop(primary));
        Self::of(standby)
    }

    fn of(primary: Node) -> Self {
        let server = block_in_place(|| primary.server.standby()).unwrap();
        let database = Database::at(&server, &primary.database);
        let standby = Node { server, database };
        Self { primary, standby }
    }

    /// Injects the fault into the connections of `proxy` to the primary. New connections reach the
    /// standby.
    pub(crate) async fn fail_primary(&self, fault: Fault, proxy: &Proxy) {
        proxy.set_target(&self.standby.database);
        match fault {
            Fault::Stopped(how) => self.primary.server.stop(how).await,
            Fault::Silence => proxy.cut(Cut::Silence).await,
        }
    }

    /// Promotes the standby, and returns when it accepts writes. `Server::promote` waits for
    /// `pg_promote`, which returns up to 100 ms late.
    pub(crate) async fn promote(&self) {
        let mut conn = self.standby.server.options().connect().await.unwrap();
        let promote = "SELECT pg_promote(wait => false)";
        conn.execute(promote).await.unwrap();
        while is_in_recovery(&mut conn).await {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn is_in_recovery(conn: &mut PgConnection) -> bool {
    let query = sqlx::query_scalar("SELECT pg_is_in_recovery()");
    query.fetch_one(conn).await.unwrap()
}
