//! Two instances of the built service on one database, tested over HTTP.

mod client;
mod delivery;
mod disconnect;
mod fleet;
mod health;
mod instance;
mod leader;
mod report;
mod shutdown;
mod tenant;
mod term;
