//! Errors that are collected, so that independent mistakes are reported together.

use syn::{Error, Result};

#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the value, or keeps the error.
    pub(crate) fn handle<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Returns `value`, or the collected errors.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T> {
        match (self.0, value) {
            (None, Some(value)) => Ok(value),
            (Some(errors), _) => Err(errors),
            // A value is missing only where `handle` has kept the error.
            (None, None) => unreachable!("BUG: a value is missing without an error"),
        }
    }
}

#[cfg(test)]
#[track_caller]
pub(crate) fn messages<T>(result: Result<T>) -> Vec<String> {
    let errors = result.err().expect("the input is refused");
    errors.into_iter().map(|error| error.to_string()).collect()
}
