//! Calls and faults, as a history has them.

use std::fmt;

use crate::event::{Mode, Outcome, Plan};

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
    /// What the client asks for.
    pub plan: Plan,
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

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {} op {}: {}",
            self.client, self.op, self.plan.verb
        )?;
        if self.plan.mode == Mode::Shared {
            f.write_str(", shared")?;
        }
        if self.plan.permits != 1 {
            write!(f, ", {} permits", self.plan.permits)?;
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
