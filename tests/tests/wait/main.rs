//! Waits: the queue of the process, and how a wait ends.

mod cancel;
mod ended;
mod queue;
mod silence;
