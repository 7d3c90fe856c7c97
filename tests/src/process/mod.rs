//! Child processes of the harness.
//!
//! A [`Supervisor`] runs a program in a temporary folder and removes both when this process ends,
//! also if it ends by SIGKILL. `base_folder` says where that folder is created. An [`Account`] is the
//! account that the program runs under. `program` finds programs that may be missing or may not run.

mod account;
mod base_folder;
pub(crate) mod program;
mod supervisor;

pub(crate) use account::Account;
pub(crate) use supervisor::Supervisor;
