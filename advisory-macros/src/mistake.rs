//! Mistakes that do not hide one another.

use syn::{Error, Result};

#[derive(Default)]
pub(crate) struct Mistakes(Option<Error>);

impl Mistakes {
    pub(crate) fn add(&mut self, mistake: Error) {
        match &mut self.0 {
            Some(first) => first.combine(mistake),
            none => *none = Some(mistake),
        }
    }

    pub(crate) fn check<T>(&mut self, checked: Result<T>) -> Option<T> {
        checked.map_err(|mistake| self.add(mistake)).ok()
    }

    /// `value`, unless there was a mistake, without which it is there.
    pub(crate) fn none_in<T>(self, value: Option<T>) -> Result<T> {
        match (self.0, value) {
            (None, Some(value)) => Ok(value),
            (Some(mistakes), _) => Err(mistakes),
            // A value is missing only where `check` has kept the mistake.
            (None, None) => unreachable!("BUG: a value is missing without a mistake"),
        }
    }
}
