//! A web service with advisory locks. This command works anywhere in the workspace, and starts a
//! private PostgreSQL server:
//!
//! ```text
//! cargo run --example service
//! ```
//!
//! With an existing server:
//!
//! ```text
//! DATABASE_URL=postgres://localhost/app cargo run -p service
//! ```

use std::process::ExitCode;

use clap::Parser as _;
use service::Config;

#[tokio::main]
async fn main() -> ExitCode {
    match service::run(Config::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::FAILURE
        }
    }
}
