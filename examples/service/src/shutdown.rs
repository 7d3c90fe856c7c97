//! Graceful shutdown: a signal starts it, and the parts of the service wait for it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Whether shutdown has been requested, by SIGTERM or Ctrl-C.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    pub(crate) fn on_signal() -> io::Result<Self> {
        let (requested, shutdown) = watch::channel(false);
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            first(interrupt, terminate).await;
            tracing::info!("shutdown requested");
            requested.send_replace(true);
            // Keeps the sender alive: receivers would take a dropped sender for a request.
            requested.closed().await;
        });
        Ok(Self(shutdown))
    }

    /// Resolves once shutdown is requested.
    pub(crate) async fn requested(mut self) {
        // An error means that the runtime is shutting down.
        let _ = self.0.wait_for(|requested| *requested).await;
    }

    /// Returns the output of the future. Drops the future and returns `None` if shutdown is
    /// requested first.
    pub(crate) async fn run_until_requested<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            biased;
            () = self.clone().requested() => None,
            output = future => Some(output),
        }
    }
}

async fn first(mut one: Signal, mut other: Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
