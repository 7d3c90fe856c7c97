//! `advisory run`: a command under a lock.

#![cfg(unix)]

#[path = "../command/mod.rs"]
mod command;

mod code;
mod lock;
mod loss;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod signal;
mod silence;
mod stream;
#[cfg(target_os = "linux")]
mod terminal;
