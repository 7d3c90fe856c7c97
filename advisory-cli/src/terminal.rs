//! The terminal that we were started from, if any.

use std::fs::File;

use nix::unistd::{getpgrp, tcgetpgrp};

/// Whether there is one.
pub(crate) fn is_there() -> bool {
    open().is_some()
}

/// Whether it sends what is typed, Ctrl-C say, to our process group.
pub(crate) fn is_ours() -> bool {
    open().and_then(|terminal| tcgetpgrp(terminal).ok()) == Some(getpgrp())
}

fn open() -> Option<File> {
    File::open("/dev/tty").ok()
}
