//! Asks first.

use std::io::{IsTerminal as _, Write as _, stderr, stdin};

use super::How;
use crate::exit::{Code, Failure};

pub(super) fn ask(how: How, sessions: usize, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !stdin().is_terminal() {
        return Err(Failure::new(
            Code::Usage,
            "nothing was sent: standard input is not a terminal, so nobody can be asked; give `--yes`",
        ));
    }
    if is_agreed(how, sessions)? {
        return Ok(());
    }
    Err(Failure::new(Code::Failure, "nothing was sent"))
}

fn is_agreed(how: How, sessions: usize) -> Result<bool, Failure> {
    let verb = match how {
        How::Cancel => "Cancel",
        How::Terminate => "Terminate",
    };
    let what = match sessions {
        1 => "this session".to_owned(),
        n => format!("these {n} sessions"),
    };
    let mut answer = String::new();
    // Beside standard output, which may go into a file.
    write!(stderr(), "{verb} {what}? [y/N] ")
        .and_then(|()| stderr().flush())
        .and_then(|()| stdin().read_line(&mut answer))
        .map_err(|error| Failure::new(Code::Failure, format!("nobody can be asked: {error}")))?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
