//! Servers and bodies that misbehave, that refuse something, or that are not fit for a lock.

mod fault;
mod hostile;
mod migrate;
mod odd_row;
mod proxy_fault;
mod restricted;
mod unfit;
