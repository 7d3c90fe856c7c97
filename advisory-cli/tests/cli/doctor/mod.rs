//! `advisory doctor`: every check passes on a server that is fit, and gives advice on one that is
//! not.

mod broken_server;
mod diagnosis;
mod output;
mod role;
mod server;
mod setting;
