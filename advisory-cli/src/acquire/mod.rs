//! `advisory run` and `advisory hold`: acquire a session lock, and hold it for a command or until a
//! signal.

mod child;
mod die_with_parent;
mod hold;
mod options;
mod run;
mod signals;

pub(crate) use self::die_with_parent::DieWithParent;
pub(crate) use self::hold::Hold;
pub(crate) use self::run::Run;
