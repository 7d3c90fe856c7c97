//! Reads histories.

use std::collections::HashMap;
use std::io::BufRead;

use crate::call::{Call, Fault, History, Token};
use crate::event::{Event, Moment, Outcome};

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

    fn find(&mut self, indices: &Indices, moment: Moment) -> Option<&mut Call> {
        let index = indices.get(&(moment.client, moment.op))?;
        self.calls.get_mut(*index)
    }

    /// Adds an event. `None` if its call cannot have it.
    fn add(&mut self, event: Event, indices: &mut Indices) -> Option<()> {
        match event {
            Event::Acquire { moment, plan } => {
                let Moment { client, op, at } = moment;
                let index = self.calls.len();
                let is_new = indices.insert((client.clone(), op), index).is_none();
                self.calls.push(Call {
                    client,
                    op,
                    plan,
                    invoked: at,
                    granted: None,
                    term: None,
                    tokens: Vec::new(),
                    released: None,
                    returned: None,
                });
                is_new.then_some(())
            }
            Event::Granted { moment, term } => {
                let at = moment.at;
                let call = self.find(indices, moment)?;
                call.term = term;
                call.granted.replace(at).is_none().then_some(())
            }
            Event::Token {
                moment,
                invoked,
                token,
            } => {
                let returned = moment.at;
                let call = self.find(indices, moment)?;
                call.granted?;
                call.tokens.push(Token {
                    invoked,
                    returned,
                    number: token,
                });
                Some(())
            }
            Event::Release { moment } => {
                let at = moment.at;
                let call = self.find(indices, moment)?;
                call.granted?;
                call.released.replace(at).is_none().then_some(())
            }
            Event::Returned { moment, outcome } => {
                let at = moment.at;
                let call = self.find(indices, moment)?;
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
