//! Keys that others have computed or published, and the document that lists the schemes. None of it needs a server.

mod document;
mod published;
mod vector;
