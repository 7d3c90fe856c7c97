//! Runs the service on a private PostgreSQL server, which is removed at the end. The arguments are
//! those of the service.
//!
//! ```text
//! cargo run --example service
//! ```

use std::env;
use std::error::Error;

use advisory_tests::Database;
use clap::Parser as _;
use service::Config;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let database = Database::new().await;
    let database_url = ["--database-url".to_owned(), database.url()];
    let arguments = env::args()
        .take(1)
        .chain(database_url)
        .chain(env::args().skip(1));
    service::run(Config::parse_from(arguments)).await
}
