//! A value for each pool that exists.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use sqlx::postgres::{PgConnectOptions, PgPool};

/// A value for each pool. It is made with the pool's first lock, and dropped after the pool.
///
/// Nothing but its connect options identifies a pool: a pool that gets others counts as a new pool.
pub(crate) struct PerPool<T>(RwLock<Vec<(Weak<PgConnectOptions>, Arc<T>)>>);

impl<T> PerPool<T> {
    pub(crate) const fn new() -> Self {
        Self(RwLock::new(Vec::new()))
    }

    pub(crate) fn of(&self, pool: &PgPool, make: impl FnOnce() -> T) -> Arc<T> {
        let options = pool.connect_options();
        let find = |pools: &[(Weak<PgConnectOptions>, Arc<T>)]| {
            let mut pools = pools.iter();
            let found = pools.find(|(known, _)| known.as_ptr() == Arc::as_ptr(&options));
            found.map(|(_, value)| Arc::clone(value))
        };
        if let Some(value) = find(&self.0.read().unwrap_or_else(PoisonError::into_inner)) {
            return value;
        }
        let mut pools = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = find(&pools) {
            return value;
        }
        pools.retain(|(known, _)| known.strong_count() > 0);
        let value = Arc::new(make());
        pools.push((Arc::downgrade(&options), Arc::clone(&value)));
        value
    }
}
