//! Histories of locks, and a linearizability checker for them.
//!
//! A history is what the clients of locks have seen: when they called a verb, when the lock was
//! granted, which fencing tokens they drew, when the work under the lock ended, and what the call
//! returned. [`Recorder`] writes one, and [`History::read`] reads it, from files of JSON lines; see
//! [`Event`].
//!
//! [`check`] says for each key whether the history is linearizable: whether there is one order of
//! all grants, tokens and releases that respects the real time, and in which no lock was ever held
//! by two that exclude each other. The search for the order is the algorithm of Wing, Gong and
//! Lowe, as `todc-utils` implements it. What is ours is `model`, the lock as a sequential object,
//! and `claim`, which says what the outcome of a call proves.
//!
//! | module | what it is for |
//! |---|---|
//! | `clock` | the time |
//! | `event` | [`Event`]: a line of a history |
//! | `recorder` | [`Recorder`]: writes events |
//! | `call` | [`History`]: calls and faults |
//! | `read` | joins events to calls |
//! | `claim` | what a call proves: the operations of a key |
//! | `model` | the lock as a sequential object |
//! | `narrow` | narrows the times of operations, so that an order is found soon |
//! | `search` | asks `todc-utils` for an order |
//! | `verdict` | [`check`]: the verdict for each key, and the smallest set of calls without an order |
//! | `overlap` | [`longest_overlap`]: how long a section goes on after it has lost its lock |

mod call;
mod claim;
mod clock;
mod event;
mod model;
mod narrow;
mod overlap;
mod read;
mod recorder;
mod search;
mod verdict;

pub use call::{Call, Fault, History, Token};
pub use clock::now;
pub use event::{Event, Mode, Moment, Outcome, Plan, Scope};
pub use overlap::longest_overlap;
pub use read::ReadError;
pub use recorder::{Attempt, Recorder, Section};
pub use verdict::{KeyReport, Verdict, check};
