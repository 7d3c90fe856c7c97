//! Asks the user for confirmation.

use std::io::{IsTerminal as _, Write as _, stderr, stdin};

use super::action::Action;
use crate::exit::Failure;

/// Fails unless the user agrees.
pub(super) fn confirm(action: Action, sessions: usize) -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage(
            "nothing was sent: standard input is not a terminal, so confirmation is not possible; \
             give `--yes`",
        ));
    }
    let verb = match action {
        Action::Cancel => "Cancel",
        Action::Terminate => "Terminate",
    };
    let object = match sessions {
        1 => "this session".to_owned(),
        n => format!("these {n} sessions"),
    };
    let mut answer = String::new();
    // Standard output may be redirected to a file.
    write!(stderr(), "{verb} {object}? [y/N] ")
        .and_then(|()| stderr().flush())
        .and_then(|()| stdin().read_line(&mut answer))
        .map_err(|error| Failure::other(format!("cannot ask for confirmation: {error}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::other("nothing was sent")),
    }
}
