//! What is reported through `tracing`.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, set_default};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Wants nothing. With a single subscriber in the process, `tracing` asks only the subscriber of the
/// thread that reaches an event first, and keeps the answer for all threads: an event that another
/// test has reached would not be recorded.
static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Recorder::new(|_| false)));

/// Records the spans and the events of this thread while it exists.
pub struct Trace {
    lines: Arc<Mutex<Vec<String>>>,
    _listening: DefaultGuard,
}

impl Trace {
    /// Records the spans and events for which `is_wanted` returns true.
    #[must_use]
    pub fn start(is_wanted: fn(&Metadata<'_>) -> bool) -> Self {
        LazyLock::force(&SECOND);
        let recorder = Recorder::new(is_wanted);
        let lines = recorder.1.clone();
        Self {
            lines,
            _listening: set_default(recorder),
        }
    }

    /// The fields of what has been recorded since the last call, a line for each span or event:
    /// `message=refused lock.name="one"`.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Recorder(fn(&Metadata<'_>) -> bool, Arc<Mutex<Vec<String>>>);

impl Recorder {
    fn new(is_wanted: fn(&Metadata<'_>) -> bool) -> Self {
        Self(is_wanted, Arc::default())
    }

    fn add(&self, record: impl FnOnce(&mut Line)) {
        let mut line = Line::default();
        record(&mut line);
        let mut lines = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line.0);
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0(metadata)
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.add(|line| span.record(line));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        self.add(|line| values.record(line));
    }
    fn event(&self, event: &Event<'_>) {
        self.add(|line| event.record(line));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}
