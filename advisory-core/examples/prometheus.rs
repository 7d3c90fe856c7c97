//! Metrics for Prometheus: how often locks are acquired and not acquired, how long the waits take,
//! and how long locks are held.
//!
//! The feature `metrics` reports to the installed recorder of the crate `metrics`. This example
//! installs `metrics-exporter-prometheus`, which answers Prometheus over HTTP.
//!
//! The output shows the scraped metrics while one lock is held.
//!
//! ```text
//! cargo run --example prometheus --features metrics
//! ```

use std::io;
use std::net::{SocketAddr, TcpListener};

use advisory_core::{AdvisoryLock, Error};
use advisory_tests::Database;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Installs the recorder. A service calls this at start-up.
fn export(address: SocketAddr) -> Result<(), BuildError> {
    let seconds = [0.001, 0.01, 0.1, 1.0, 10.0, 60.0];
    PrometheusBuilder::new()
        .with_http_listener(address)
        // Without buckets, durations would be exported as quantiles, and quantiles cannot be
        // aggregated over the instances of a service.
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &seconds)?
        .install()?;
    advisory_core::describe_metrics();
    Ok(())
}

/// An address with a free port. A service uses a port that Prometheus is configured with, such as
/// 9000.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// Requests the metrics, as Prometheus does every few seconds.
async fn scrape(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    Ok(body.unwrap_or_default().to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = free_address()?;
    export(address)?;
    let database = Database::new().await; // on a private server, started for this example
    let pool = database.pool(2).await;

    let lock = AdvisoryLock::new("sync(4)");
    for _ in 0..3 {
        lock.transaction(&pool, async |_| Ok::<_, Error>(()))
            .await?;
    }
    let leader = AdvisoryLock::new("leader");
    let guard = leader.acquire(&pool).await?;
    assert!(leader.try_begin(&pool).await?.is_none(), "the lock is held");

    println!("http://{address}/metrics responds with:\n");
    let scraped = scrape(address).await?;
    println!("{scraped}");
    for line in [
        r#"advisory_acquire_total{scope="xact",outcome="acquired"} 3"#,
        r#"advisory_acquire_total{scope="xact",outcome="not_acquired"} 1"#,
        r#"advisory_held{scope="session"} 1"#,
    ] {
        assert!(scraped.contains(line), "expected `{line}`");
    }
    guard.release().await?;
    Ok(())
}
