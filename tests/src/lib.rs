//! The harness of the workspace: a private PostgreSQL server for tests and examples.
