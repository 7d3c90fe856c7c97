//! Runs a command with a private PostgreSQL server, which ends with the command.
//!
//! ```sh
//! cargo run -p advisory-tests --bin with-server -- sh -c 'psql "$ADVISORY_DATABASE_URL"'
//! ```

use std::process::{Command, ExitCode};

use advisory_tests::Database;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!(
            "usage: with-server COMMAND [ARGUMENT]…; the command finds the server in `ADVISORY_DATABASE_URL`"
        );
        return ExitCode::from(2);
    };
    let database = Database::new().await;
    let status = Command::new(&program)
        .args(arguments)
        .env("ADVISORY_DATABASE_URL", database.url())
        .status();
    match status {
        Ok(status) => status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("cannot run `{}`: {error}", program.display());
            ExitCode::from(127)
        }
    }
}
