//! `advisory run`, `advisory lead` and `advisory hold`: acquire a session lock, and hold it for a
//! command or until a signal.

mod child;
mod detach;
mod exec;
mod hold;
mod lead;
mod options;
mod orphan;
mod pid_file;
mod process;
mod process_group;
mod run;
mod schedule;
mod signals;
mod until;
mod waiting;

pub(crate) use self::exec::die_with_parent;
pub(crate) use self::hold::Hold;
pub(crate) use self::lead::Lead;
pub(crate) use self::run::Run;
pub(crate) use self::signals::Signals;
