//! `advisory ls` and `advisory tree`.

#![cfg(unix)]

mod command_page;
mod foreign;
mod ls;
mod many;
mod narrow;
mod permits;
mod tree;
mod watch;
