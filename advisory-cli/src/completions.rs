//! `advisory completions`.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::exit::{Code, Failure};
use crate::output;

/// For which shell.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell: `advisory completions bash > /etc/bash_completion.d/advisory`.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Arguments::command(),
            "advisory",
            &mut script,
        );
        let script = String::from_utf8(script).map_err(|error| {
            Failure::new(Code::Failure, format!("cannot write completions: {error}"))
        })?;
        output::line(script.trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}
