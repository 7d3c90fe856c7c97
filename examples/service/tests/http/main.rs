//! Two instances of the built service on one database, driven over HTTP.

mod client;
mod delivery;
mod disconnect;
mod end;
mod fleet;
mod health;
mod instance;
mod leader;
mod term;
