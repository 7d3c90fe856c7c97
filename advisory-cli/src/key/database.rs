//! The database of a key.

use std::collections::HashMap;

use serde::Serialize;
use sqlx::postgres::PgPool;
use tokio::sync::OnceCell;

use crate::server::Server;
use crate::sql;

/// The database in which a key was seen.
#[derive(Clone, Default, Serialize)]
pub(super) struct Database {
    pub(super) oid: Option<u32>,
    pub(super) name: Option<String>,
}

/// Finds the names of databases by their oids. The server is asked only then.
pub(super) struct Databases<'s> {
    server: &'s Server,
    given: Option<String>,
    names: HashMap<u32, Option<String>>,
    /// Unset until the server is asked.
    pool: OnceCell<Option<PgPool>>,
}

impl<'s> Databases<'s> {
    /// With the name that was given, the server is not asked.
    pub(super) fn new(server: &'s Server, given: Option<String>) -> Self {
        Self {
            server,
            given,
            names: HashMap::new(),
            pool: OnceCell::new(),
        }
    }

    pub(super) async fn of(&mut self, oid: Option<u32>) -> Database {
        let name = match (&self.given, oid) {
            (Some(name), _) => Some(name.clone()),
            (None, None) => None,
            (None, Some(oid)) => self.name(oid).await,
        };
        Database { oid, name }
    }

    /// `None` if the server does not say. The rest of what is known of a key is shown all the same.
    async fn name(&mut self, oid: u32) -> Option<String> {
        if let Some(name) = self.names.get(&oid) {
            return name.clone();
        }
        let connect = async || self.server.connect(1).await.ok();
        let pool = self.pool.get_or_init(connect).await.as_ref()?;
        let name = async { sql::database_name(&mut *pool.acquire().await?, oid).await };
        let name = name.await.ok().flatten();
        self.names.insert(oid, name.clone());
        name
    }
}
