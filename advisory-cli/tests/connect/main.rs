//! How the command is told which server to connect to: as libpq is.

#[path = "../command/mod.rs"]
mod command;
mod host;
mod parameter;
mod password;
mod pooler;
mod service;
mod source;
mod tls;
mod url;
