//! `advisory run`: a command under a lock.

#![cfg(unix)]

mod clock;
#[cfg(target_os = "linux")]
mod container;
mod exit_code;
mod lock;
mod loss;
mod recipe;
mod schedule;
#[cfg(target_os = "linux")]
mod signal;
mod silent_network;
mod stdio;
#[cfg(target_os = "linux")]
mod terminal;
mod waiting;
