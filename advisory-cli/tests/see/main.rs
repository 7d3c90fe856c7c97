//! `advisory ls`, `tree` and `key`: what is to be seen.

#![cfg(unix)]

#[path = "../command/mod.rs"]
#[allow(dead_code)]
mod command;

mod key;
mod ls;
mod readme;
mod scene;
mod tree;
mod watch;
