//! Locks of a transaction: the caller's, or one that is begun for the lock.

mod async_trait;
mod attribute;
mod begin;
mod default_isolation;
mod isolation;
mod lost;
mod nested;
mod period;
mod xact;
