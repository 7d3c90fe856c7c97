//! Writes histories.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::now;
use crate::event::{Event, Moment, Outcome, Plan};

/// Writes events to a file, or nowhere.
///
/// Every event is one write to the end of the file. So any number of processes can write to one
/// file, and a process that is killed loses nothing that it has written.
#[derive(Debug)]
pub struct Recorder(Option<File>);

impl Recorder {
    /// Appends to a file, which is created if it does not exist.
    pub fn to(path: &Path) -> io::Result<Arc<Self>> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Arc::new(Self(Some(file))))
    }

    /// Writes nothing.
    pub fn off() -> Arc<Self> {
        Arc::new(Self(None))
    }

    /// Writes an event.
    ///
    /// # Panics
    ///
    /// If the file cannot be written. A history with a gap is worthless.
    pub fn write(&self, event: &Event) {
        let Some(mut file) = self.0.as_ref() else {
            return;
        };
        let mut line = serde_json::to_vec(event).expect("BUG: an event is JSON");
        line.push(b'\n');
        let written = file.write_all(&line);
        written.unwrap_or_else(|error| panic!("the history can be written: {error}"));
    }

    /// Records that a client calls a verb, now. `op` is the number of the call among those of the
    /// client.
    pub fn attempt(self: &Arc<Self>, client: &str, op: u64, plan: Plan) -> Attempt {
        let events = Events {
            recorder: Arc::clone(self),
            client: client.to_owned(),
            op,
        };
        events.write(|moment| Event::Acquire { moment, plan });
        Attempt {
            events,
            has_returned: AtomicBool::new(false),
        }
    }
}

/// Writes the events of a call.
#[derive(Clone, Debug)]
struct Events {
    recorder: Arc<Recorder>,
    client: String,
    op: u64,
}

impl Events {
    /// Writes an event that happens now.
    fn write(&self, event: impl FnOnce(Moment) -> Event) {
        let moment = Moment {
            client: self.client.clone(),
            op: self.op,
            at: now(),
        };
        self.recorder.write(&event(moment));
    }
}

/// A call. If it is dropped before it has returned, its outcome is unknown.
#[derive(Debug)]
pub struct Attempt {
    events: Events,
    has_returned: AtomicBool,
}

impl Attempt {
    /// Records that the lock is granted, and a leader's term if it is one. The section ends when
    /// the result is dropped.
    #[must_use]
    pub fn granted(&self, term: Option<i64>) -> Section {
        self.events.write(|moment| Event::Granted { moment, term });
        Section(self.events.clone())
    }

    /// Records the outcome of the call, once.
    pub fn returned(&self, outcome: Outcome) {
        if !self.has_returned.swap(true, Ordering::SeqCst) {
            self.events
                .write(|moment| Event::Returned { moment, outcome });
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.returned(Outcome::Unknown);
    }
}

/// A section under a lock, which ends when this is dropped.
#[derive(Debug)]
pub struct Section(Events);

impl Section {
    /// Records a fencing token that was asked for at `invoked` and is returned now.
    pub fn token(&self, invoked: u64, token: i64) {
        self.0.write(|moment| Event::Token {
            moment,
            invoked,
            token,
        });
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        self.0.write(|moment| Event::Release { moment });
    }
}
