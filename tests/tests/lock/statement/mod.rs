//! What is sent to the server: the calls of its lock functions, the statements of the monitor, how
//! many messages each verb needs, and their texts.

mod function;
mod monitor;
mod round_trip;
mod text;
