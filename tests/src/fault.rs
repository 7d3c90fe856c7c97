//! Faults of a line, armed for one message.

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that asks.
    Client,
    /// The one that answers.
    Server,
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both sides see the orderly end of the stream, as if the other one had closed it.
    Fin,
    /// Both sides see a reset, as if the other one had crashed. A unix socket knows none: it is closed, no more.
    Reset,
    /// The connection stays open and nothing is passed on any more, until
    /// [`set_silent(false)`](crate::Proxy::set_silent). Other connections are not concerned.
    Silence,
}

/// A fault that waits for its message.
#[derive(Default)]
pub(crate) struct Trap {
    armed: Option<Armed>,
    has_sprung: bool,
}

struct Armed {
    side: Side,
    /// The messages up to the one that springs the trap, that one included.
    left: usize,
    cut: Cut,
}

impl Trap {
    pub(crate) fn armed(side: Side, n: usize, cut: Cut) -> Self {
        assert!(n > 0, "messages are counted from 1");
        let armed = Armed { side, left: n, cut };
        Self {
            armed: Some(armed),
            has_sprung: false,
        }
    }

    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    pub(crate) fn has_sprung(&self) -> bool {
        self.has_sprung
    }

    /// Counts a message of `side`, and says what to do after it.
    pub(crate) fn count(&mut self, side: Side) -> Option<Cut> {
        let armed = self.armed.as_mut().filter(|armed| armed.side == side)?;
        armed.left -= 1;
        if armed.left > 0 {
            return None;
        }
        self.has_sprung = true;
        self.armed.take().map(|armed| armed.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_springs_once_at_its_message() {
        let mut trap = Trap::armed(Side::Client, 2, Cut::Fin);
        assert_eq!(trap.count(Side::Client), None);
        assert_eq!(trap.count(Side::Server), None);
        assert!(!trap.has_sprung());
        assert_eq!(trap.count(Side::Client), Some(Cut::Fin));
        assert!(trap.has_sprung());
        assert_eq!(trap.count(Side::Client), None);
    }

    #[test]
    fn a_disarmed_trap_does_not_spring() {
        let mut trap = Trap::armed(Side::Server, 1, Cut::Reset);
        trap.disarm();
        assert_eq!(trap.count(Side::Server), None);
        assert!(!trap.has_sprung());
    }
}
