//! `advisory doctor`: every check passes on a server that is fit, and gives advice on one that is
//! not.

mod broken_server;
#[path = "../command/mod.rs"]
mod command;
mod diagnosis;
mod output;
mod role;
mod server;
mod setting;
#[path = "../terminal/mod.rs"]
mod terminal;
