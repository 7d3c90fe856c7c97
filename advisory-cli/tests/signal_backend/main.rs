//! `advisory cancel` and `advisory terminate`.

#[path = "../command/mod.rs"]
mod command;
mod confirm;
mod outcome;
mod refused;
mod selection;
mod session;
#[path = "../terminal/mod.rs"]
mod terminal;
