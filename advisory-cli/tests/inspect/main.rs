//! `advisory ls` and `advisory tree`.

#![cfg(unix)]

#[path = "../command/mod.rs"]
mod command;
mod command_page;
mod foreign;
mod ls;
mod many;
mod narrow;
mod permits;
mod session;
#[path = "../terminal/mod.rs"]
mod terminal;
mod tree;
mod watch;
