//! `advisory cancel` and `advisory terminate`.

#[path = "../command/mod.rs"]
mod command;
mod confirm;
mod name;
mod outcome;
mod refused;
mod selection;
mod session;
#[path = "../terminal/mod.rs"]
mod terminal;
