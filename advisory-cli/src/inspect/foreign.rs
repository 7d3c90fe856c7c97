//! Advisory locks of extensions. Their key has a fourth field of its own, so it is the key of no
//! lock of the library.

use sqlx::postgres::PgPool;

use super::snapshot::Scope;
use crate::exit::Failure;
use crate::output;
use crate::sql;

/// The extensions that are known to take such locks, by the fourth field.
const EXTENSIONS: [(i16, &str); 4] = [
    (4, "Citus"),
    (5, "Citus"),
    (10, "pg_auto_failover"),
    (29749, "TimescaleDB"),
];

/// A table of such locks, with a line above it; empty if there are none.
pub(super) async fn table(pool: &PgPool, scope: &Scope) -> Result<String, Failure> {
    let mut conn = pool.acquire().await?;
    let mut locks = sql::foreign_locks(&mut conn).await?;
    locks.retain(|lock| scope.all_databases || lock.is_here);
    if locks.is_empty() {
        return Ok(String::new());
    }
    let mut table = output::new_table();
    table.set_header("DATABASE EXTENSION KEY MODE STATUS PID APPLICATION".split(' '));
    for lock in &locks {
        table.add_row([
            lock.database.clone(),
            extension(lock.objsubid),
            format!("[{},{},{}]", lock.classid, lock.objid, lock.objsubid),
            lock.mode.clone(),
            if lock.granted { "held" } else { "waits" }.to_owned(),
            lock.pid.to_string(),
            lock.application_name.clone().unwrap_or_default(),
        ]);
    }
    let head = "foreign locks, which extensions have taken with keys of their own:";
    Ok(format!("{head}\n{}", table.trim_fmt()))
}

fn extension(objsubid: i16) -> String {
    let known = EXTENSIONS.iter().find(|(field, _)| *field == objsubid);
    known.map_or("unknown", |(_, name)| name).to_owned()
}
