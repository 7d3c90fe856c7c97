//! `advisory doctor`: every check passes on a server that is fit, and says what to do on one that is not.

mod diagnosis;
#[path = "../outcome/mod.rs"]
mod outcome;
mod outside;
mod place;
mod right;
mod setting;
#[path = "../terminal/mod.rs"]
mod terminal;
mod unfit;
