//! Keys that other projects have computed or published, and the document that lists the schemes. No
//! server is needed.

mod document;
mod published;
mod vector;
