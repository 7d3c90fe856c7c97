//! `advisory cancel` and `advisory terminate`.

mod confirm;
mod lost_connection;
mod name;
mod outcome;
mod permits;
mod pgpool;
mod refused;
mod selection;
mod session;
