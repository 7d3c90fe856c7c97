//! `advisory cancel` and `advisory terminate`.

mod consent;
mod holder;
#[path = "../outcome/mod.rs"]
mod outcome;
mod refused;
mod scene;
mod target;
#[path = "../terminal/mod.rs"]
mod terminal;
