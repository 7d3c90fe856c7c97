//! Waits: the queue of the process, how a wait ends, and many waits at once.

mod cancel;
mod drop;
mod ended;
mod permits;
mod queue;
mod silence;
mod stress;
