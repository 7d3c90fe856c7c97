//! A connection that fails at a certain message.

mod known;
