//! `advisory ls` and `advisory tree`: the locks of a server, as a table, as JSON and as a tree.

mod empty;
mod foreign;
mod json_row;
mod ls;
mod row;
mod snapshot;
mod table;
mod tree;
mod watch;

pub(crate) use self::ls::Ls;
pub(crate) use self::tree::Tree;
