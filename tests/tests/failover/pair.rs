//! A primary and the standby that follows it.

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

/// What becomes of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends.
    Ends(Shutdown),
    /// It lives on, and its clients hear nothing of it any more.
    Silence,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        // How long a standby rests that has not reached its primary: five seconds if not set.
        let settings = [("wal_retrieve_retry_interval", "100ms")];
        let server = block_in_place(|| Server::start_with(&settings)).unwrap();
        let database = Database::on(&server).await;
        Self::of(Node { server, database })
    }

    /// The standby becomes the primary, and is followed in its turn. The old primary is no more.
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

    /// Takes the primary away from those who come through `proxy`. Who connects anew meets the standby.
    pub(crate) async fn strike(&self, fault: Fault, proxy: &Proxy) {
        proxy.set_target(&self.standby.database);
        match fault {
            Fault::Ends(how) => self.primary.server.stop(how).await,
            Fault::Silence => proxy.cut(Cut::Silence).await,
        }
    }

    /// Promotes the standby, and returns when it can be written to. `Server::promote` would be up to 100 ms late, as
    /// `pg_promote` is.
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
