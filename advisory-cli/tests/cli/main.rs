//! The command, run as its users run it.

mod bench;
mod command;
mod completions;
mod connect;
mod doctor;
mod explain;
mod export;
mod hold;
mod inspect;
mod key;
mod lead;
#[cfg(target_os = "linux")]
mod process;
mod run;
mod session;
mod signal_backend;
mod terminal;
mod usage;
