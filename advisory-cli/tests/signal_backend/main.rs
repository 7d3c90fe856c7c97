//! `advisory cancel` and `advisory terminate`.

#[path = "../command/mod.rs"]
mod command;
mod confirm;
mod lost_connection;
mod name;
mod outcome;
mod permits;
mod pgpool;
mod refused;
mod selection;
mod session;
#[path = "../terminal/mod.rs"]
mod terminal;
