//! Locks in the transactions and on the connections of sea-orm.

mod attribute;
mod recipe;
mod unfit;
mod verb;
