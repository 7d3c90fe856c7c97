//! A web service with advisory locks. With a PostgreSQL of its own, from anywhere in the workspace:
//!
//! ```text
//! cargo run --example service
//! ```
//!
//! With one that is there:
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
