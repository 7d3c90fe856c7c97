//! Waits: the queue of the process, and how a wait ends.

mod cancel;
mod drop;
mod ended;
mod permits;
mod queue;
mod silence;
