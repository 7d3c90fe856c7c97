//! Locks on a session of their own, and the guards that notice the loss of it.

mod fencing;
mod guard;
mod guard_connection;
mod holder;
mod loss;
