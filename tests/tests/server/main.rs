//! Servers and bodies that misbehave, that refuse something, or that are not fit for a lock.

mod failover;
mod fault;
mod hostile;
mod limits;
mod lost_machine;
mod migrate;
mod odd_row;
mod pooler;
mod proxy_fault;
mod restricted;
mod unfit;
