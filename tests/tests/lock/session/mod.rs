//! Locks on a session of their own, and the guards that notice the loss of it.

mod at_least;
mod fencing;
mod ghost;
mod guard;
mod guard_connection;
mod holder;
mod idle;
mod lead;
mod loss;
mod recipe;
