//! A role for one test.

use std::sync::atomic::Ordering;

use sqlx::postgres::PgConnectOptions;

use super::{Database, quoted};

impl Database {
    /// The options to connect as a new role, which may log in and has no other privilege. The role
    /// has the name of the database, and is dropped with it.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub async fn role(&self) -> PgConnectOptions {
        let name = self.name();
        let create = format!("CREATE ROLE {} LOGIN PASSWORD 'role'", quoted(name));
        self.execute(create).await;
        self.has_role.store(true, Ordering::Relaxed);
        self.options().username(name).password("role")
    }
}
