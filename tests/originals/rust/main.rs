//! The Rust crate `distributed-lock-postgres`. Requests are lines of JSON: see
//! tests/src/foreign_client/process.rs.

use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use distributed_lock_core::{DistributedLock as _, LockHandle as _, LockProvider as _};
use distributed_lock_postgres::PostgresLockProvider;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};

#[tokio::main]
async fn main() {
    let options = PgConnectOptions::new().ssl_mode(PgSslMode::Disable);
    let pool = PgPoolOptions::new().max_connections(4).connect_with(options);
    let pool = pool.await.expect("the database can be reached");
    let in_transaction = std::env::args().nth(1).as_deref() == Some("DistributedLockXact");
    let provider = PostgresLockProvider::builder().pool(pool).use_transaction(in_transaction);
    let provider = provider.build().await.expect("a pool is enough");
    tell(&json!({"package": "distributed-lock-postgres 0.2.0", "runtime": "Rust"}));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the input is text");
        let request: Value = serde_json::from_str(&line).expect("the input is JSON");
        let answer = measure(&provider, &request).await;
        tell(&answer.unwrap_or_else(|error| json!({ "error": error })));
    }
}

async fn measure(provider: &PostgresLockProvider, request: &Value) -> Result<Value, String> {
    let name = request["name"].as_str().ok_or("expected `name`")?;
    let count = request["count"].as_u64().ok_or("expected `count`")?;
    let mut nanoseconds = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let lock = provider.create_lock(name);
        let handle = lock.acquire(None).await.map_err(|error| error.to_string())?;
        handle.release().await.map_err(|error| error.to_string())?;
        nanoseconds.push(start.elapsed().as_nanos());
    }
    Ok(json!({"nanoseconds": nanoseconds}))
}

fn tell(answer: &Value) {
    let mut output = std::io::stdout();
    writeln!(output, "{answer}").and_then(|()| output.flush()).expect("somebody listens");
}
