//! Which server the command connects to: the one that libpq would connect to.

mod host;
mod parameter;
mod password;
mod pooler;
mod service;
mod source;
mod tls;
mod url;
