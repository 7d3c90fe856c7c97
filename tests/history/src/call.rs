//! Reads histories.

use std::collections::HashMap;
use std::fmt;
use std::io::BufRead;

use crate::event::{Event, Mode, Outcome, Scope};

/// What clients have seen of their locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The calls, in the order of their first lines.
    pub calls: Vec<Call>,
    /// The faults.
    pub faults: Vec<Fault>,
}

/// One call of a verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The client.
    pub client: String,
    /// The number of the call among those of the client.
    pub op: u64,
    /// The process of the client.
    pub process: u32,
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
    /// When it was called.
    pub invoked: u64,
    /// When the section under the lock began.
    pub granted: Option<u64>,
    /// The number of a leader's term.
    pub term: Option<i64>,
    /// The other fencing tokens, in their order.
    pub tokens: Vec<Token>,
    /// When the section under the lock ended.
    pub released: Option<u64>,
    /// When the call returned, and with which outcome. `None` if its process was killed.
    pub returned: Option<(u64, Outcome)>,
}

/// A fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// When it was asked for.
    pub invoked: u64,
    /// When it was returned.
    pub returned: u64,
    /// The token.
    pub number: i64,
}

/// Something that failed on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When it began.
    pub began: u64,
    /// When it was over.
    pub ended: u64,
    /// What failed.
    pub fault: String,
    /// The process that it concerned, or all.
    pub process: Option<u32>,
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read the history: {0}")]
    Io(#[from] std::io::Error),
    /// A line is no event.
    #[error("line {line} is no event of a history: {error}")]
    #[non_exhaustive]
    Line {
        /// The number of the line, from 1 on.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// An event of a call that was not made, or the second one of its kind.
    #[error("line {line} does not follow from the lines of its call before: `{event}`")]
    #[non_exhaustive]
    Order {
        /// The number of the line, from 1 on.
        line: usize,
        /// The event.
        event: String,
    },
}

/// The index of each call, by its client and its number.
type Indices = HashMap<(String, u64), usize>;

impl History {
    /// Reads the lines of a history. A last line that was cut off is left out.
    pub fn read(lines: impl BufRead) -> Result<Self, ReadError> {
        let mut history = Self::default();
        let mut indices = Indices::new();
        let mut lines = lines.lines().enumerate().peekable();
        while let Some((index, line)) = lines.next() {
            let text = line?;
            if text.trim().is_empty() {
                continue;
            }
            let event = match serde_json::from_str(&text) {
                Err(error) if error.is_eof() && lines.peek().is_none() => break,
                event => event.map_err(|error| ReadError::Line {
                    line: index + 1,
                    error,
                })?,
            };
            let added = history.add(event, &mut indices);
            added.ok_or(ReadError::Order {
                line: index + 1,
                event: text,
            })?;
        }
        Ok(history)
    }

    fn find(&mut self, indices: &Indices, client: String, op: u64) -> Option<&mut Call> {
        let index = indices.get(&(client, op))?;
        self.calls.get_mut(*index)
    }

    /// Adds an event. `None` if its call cannot have it.
    fn add(&mut self, event: Event, indices: &mut Indices) -> Option<()> {
        match event {
            Event::Acquire {
                client,
                op,
                at,
                process,
                verb,
                scope,
                keys,
                mode,
                permits,
            } => {
                let index = self.calls.len();
                let is_new = indices.insert((client.clone(), op), index).is_none();
                self.calls.push(Call {
                    client,
                    op,
                    process,
                    verb,
                    scope,
                    keys,
                    mode,
                    permits,
                    invoked: at,
                    granted: None,
                    term: None,
                    tokens: Vec::new(),
                    released: None,
                    returned: None,
                });
                is_new.then_some(())
            }
            Event::Granted {
                client,
                op,
                at,
                term,
            } => {
                let call = self.find(indices, client, op)?;
                call.term = term;
                call.granted.replace(at).is_none().then_some(())
            }
            Event::Token {
                client,
                op,
                invoked,
                at,
                token,
            } => {
                let call = self.find(indices, client, op)?;
                call.granted?;
                call.tokens.push(Token {
                    invoked,
                    returned: at,
                    number: token,
                });
                Some(())
            }
            Event::Release { client, op, at } => {
                let call = self.find(indices, client, op)?;
                call.granted?;
                call.released.replace(at).is_none().then_some(())
            }
            Event::Returned {
                client,
                op,
                at,
                outcome,
            } => {
                let call = self.find(indices, client, op)?;
                let is_of_lock = matches!(outcome, Outcome::Released | Outcome::Unconfirmed);
                let is_first = call.returned.replace((at, outcome)).is_none();
                (is_first && (call.released.is_some() || !is_of_lock)).then_some(())
            }
            Event::Fault {
                at,
                ended,
                fault,
                process,
            } => {
                self.faults.push(Fault {
                    began: at,
                    ended,
                    fault,
                    process,
                });
                Some(())
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} op {}: {}", self.client, self.op, self.verb)?;
        if self.mode == Mode::Shared {
            f.write_str(", shared")?;
        }
        if self.permits != 1 {
            write!(f, ", {} permits", self.permits)?;
        }
        write!(f, ", called at {}", Seconds(self.invoked))?;
        if let Some(granted) = self.granted {
            write!(f, ", granted by {}", Seconds(granted))?;
        }
        let term = self.term.map(|term| format!(", term {term}"));
        f.write_str(&term.unwrap_or_default())?;
        for token in &self.tokens {
            write!(f, ", token {} at {}", token.number, Seconds(token.returned))?;
        }
        if let Some(released) = self.released {
            write!(f, ", work ended at {}", Seconds(released))?;
        }
        match self.returned {
            Some((at, outcome)) => write!(f, ", {outcome:?} at {}", Seconds(at)),
            None => f.write_str(", never returned"),
        }
    }
}

/// A time as seconds.
#[derive(Clone, Copy)]
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{:09} s",
            self.0 / 1_000_000_000,
            self.0 % 1_000_000_000
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (began, ended) = (Seconds(self.began), Seconds(self.ended));
        write!(f, "{}, from {began} to {ended}", self.fault)?;
        match self.process {
            Some(process) => write!(f, ", process {process}"),
            None => Ok(()),
        }
    }
}
