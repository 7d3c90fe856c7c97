//! `advisory ls` and `advisory tree`.

#![cfg(unix)]

#[path = "../command/mod.rs"]
mod command;
mod ls;
mod readme;
mod session;
mod tree;
mod watch;
