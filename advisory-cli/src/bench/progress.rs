//! Says that it is at work, to somebody at a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// On standard error; nothing where that is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn start(works: u64) -> Self {
        let bar = ProgressBar::new(works);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn begin(&self, work: &'static str) {
        self.0.set_message(work);
        self.0.tick();
    }

    pub(super) fn done(&self) {
        self.0.inc(1);
    }

    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
