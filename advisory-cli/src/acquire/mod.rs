//! `advisory run`, `advisory lead` and `advisory hold`: acquire a session lock, and hold it for a
//! command or until a signal.

mod child;
mod die_with_parent;
mod hold;
mod lead;
mod options;
mod run;
mod schedule;
mod signals;

pub(crate) use self::die_with_parent::DieWithParent;
pub(crate) use self::hold::Hold;
pub(crate) use self::lead::Lead;
pub(crate) use self::run::Run;
