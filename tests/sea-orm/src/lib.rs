//! The recipe of docs/RECIPES.md for sea-orm, and the tests of locks in sea-orm's transactions.

pub mod recipe;
