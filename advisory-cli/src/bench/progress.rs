//! The progress bar.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, which is hidden if that is not a terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start(measurements: u64) -> Self {
        let bar = ProgressBar::new(measurements);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows the name of a measurement while it runs.
    pub(super) async fn show<T>(
        &self,
        name: &'static str,
        measurement: impl Future<Output = T>,
    ) -> T {
        self.0.set_message(name);
        self.0.tick();
        let measured = measurement.await;
        self.0.inc(1);
        measured
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
