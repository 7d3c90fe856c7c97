//! The end of the service: when it is told to, and who has to know.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Comes once, with a SIGTERM or Ctrl-C.
#[derive(Clone)]
pub(crate) struct End(watch::Receiver<bool>);

impl End {
    pub(crate) fn on_signal() -> io::Result<Self> {
        let (told, end) = watch::channel(false);
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move {
            first(interrupt, terminate).await;
            tracing::info!("told to end");
            told.send_replace(true);
            // Nobody can tell it again: a sender that is dropped would look like an end as well.
            told.closed().await;
        });
        Ok(Self(end))
    }

    /// Resolves when it has come.
    pub(crate) async fn come(mut self) {
        // An error means that the runtime is ending.
        let _ = self.0.wait_for(|told| *told).await;
    }

    /// What the future has to say, or `None` if the end comes first; the future is dropped then.
    pub(crate) async fn before<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.clone().come() => None,
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
