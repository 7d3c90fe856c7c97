//! A connection beside a pool.

use sqlx::postgres::PgPool;

/// A pool of one connection with the options and the hooks of another pool, whose connections it
/// does not count.
pub(crate) fn beside(pool: &PgPool) -> PgPool {
    let options = pool.options().clone();
    let options = options.min_connections(0).max_connections(1);
    let options = options.max_lifetime(None).idle_timeout(None);
    options.connect_lazy_with(pool.connect_options().as_ref().clone())
}
