//! Everything that is said to the server, and nothing else says anything.

pub(crate) mod function;
pub(crate) mod holder;
pub(crate) mod message;
pub(crate) mod state;
