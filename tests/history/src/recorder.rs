//! Writes histories.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::now;
use crate::event::{Event, Mode, Outcome, Scope};

/// Writes events to a file, or nowhere.
///
/// Every event is one write to the end of the file. So any number of processes can write to one
/// file, and a process that is killed loses nothing that it has written.
#[derive(Debug)]
pub struct Recorder(Option<File>);

/// What a client is about to ask for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The client and its process.
    pub client: String,
    /// The process of the client.
    pub process: u32,
    /// The number of the call among those of the client.
    pub op: u64,
    /// The name of the verb.
    pub verb: String,
    /// What holds the lock.
    pub scope: Scope,
    /// The keys of the lock.
    pub keys: Vec<i64>,
    /// The mode of the lock.
    pub mode: Mode,
    /// How many may hold the lock at once.
    pub permits: u32,
}

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

    /// Records that a client calls a verb, now.
    pub fn attempt(self: &Arc<Self>, plan: Plan) -> Attempt {
        let Plan { client, op, .. } = plan.clone();
        self.write(&Event::Acquire {
            client: plan.client,
            op,
            at: now(),
            process: plan.process,
            verb: plan.verb,
            scope: plan.scope,
            keys: plan.keys,
            mode: plan.mode,
            permits: plan.permits,
        });
        Attempt {
            recorder: Arc::clone(self),
            client,
            op,
            has_returned: AtomicBool::new(false),
        }
    }
}

/// A call. If it is dropped before it has returned, its outcome is unknown.
#[derive(Debug)]
pub struct Attempt {
    recorder: Arc<Recorder>,
    client: String,
    op: u64,
    has_returned: AtomicBool,
}

impl Attempt {
    /// Records that the lock is granted, and a leader's term if it is one. The section ends when
    /// the result is dropped.
    #[must_use]
    pub fn granted(&self, term: Option<i64>) -> Section {
        let (client, op) = (self.client.clone(), self.op);
        self.recorder.write(&Event::Granted {
            client: client.clone(),
            op,
            at: now(),
            term,
        });
        Section {
            recorder: Arc::clone(&self.recorder),
            client,
            op,
        }
    }

    /// Records the outcome of the call, once.
    pub fn returned(&self, outcome: Outcome) {
        if self.has_returned.swap(true, Ordering::SeqCst) {
            return;
        }
        self.recorder.write(&Event::Returned {
            client: self.client.clone(),
            op: self.op,
            at: now(),
            outcome,
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.returned(Outcome::Unknown);
    }
}

/// A section under a lock, which ends when this is dropped.
#[derive(Debug)]
pub struct Section {
    recorder: Arc<Recorder>,
    client: String,
    op: u64,
}

impl Section {
    /// Records a fencing token that was asked for at `invoked` and is returned now.
    pub fn token(&self, invoked: u64, token: i64) {
        self.recorder.write(&Event::Token {
            client: self.client.clone(),
            op: self.op,
            invoked,
            at: now(),
            token,
        });
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        self.recorder.write(&Event::Release {
            client: self.client.clone(),
            op: self.op,
            at: now(),
        });
    }
}
