//! How long a server may take to answer before it counts as gone.

use std::future::Future;
use std::io::{Error as IoError, ErrorKind};
use std::time::Duration;

use tokio::time::timeout;

use crate::AdvisoryLock;
use crate::wait::Wait;

/// The least that a busy server is given: anything shorter would be taken for a loss.
const LEAST: Duration = Duration::from_secs(1);

/// What a server that is probed at this interval may take.
pub(crate) fn patience(interval: Duration) -> Duration {
    interval.max(LEAST)
}

/// The answer to a message that waits for a lock. The server keeps the time; where it does not answer either, the network or the
/// server is gone, and the wait ends in an error. A wait without an end has none here.
pub(crate) async fn answer<T, E: From<sqlx::Error>>(
    lock: &AdvisoryLock,
    wait: Wait,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let patience = patience(lock.probe_interval());
    let most = match wait {
        Wait::No => patience,
        Wait::For(limit) => limit.saturating_add(patience),
        Wait::Server | Wait::Forever => return answer.await,
    };
    let silence = || IoError::new(ErrorKind::TimedOut, "the server does not answer");
    timeout(most, answer)
        .await
        .unwrap_or_else(|_elapsed| Err(sqlx::Error::Io(silence()).into()))
}
