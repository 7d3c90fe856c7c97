//! Faults that a proxy injects into a connection.

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The side that sends requests.
    Client,
    /// The side that sends responses.
    Server,
}

/// A fault of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Both sides see the orderly end of the stream, as if the other side had closed it.
    Fin,
    /// Both sides see a reset, as if the other side had crashed. A unix socket has no resets: the
    /// connection is closed as with [`Fin`](Self::Fin), but unread data is not drained.
    Reset,
    /// The connection stays open and no data is forwarded, until
    /// [`set_silent(false)`](crate::Proxy::set_silent). Other connections are not affected.
    Silence,
}

/// Injects a fault after a given message.
#[derive(Default)]
pub(super) struct FaultTrigger {
    armed: Option<Armed>,
    has_fired: bool,
}

struct Armed {
    side: Side,
    /// How many messages are left, including the one after which the fault happens.
    left: usize,
    cut: Cut,
}

impl FaultTrigger {
    /// A trigger for the `n`-th message of `side` from now.
    pub(super) fn armed(side: Side, n: usize, cut: Cut) -> Self {
        assert!(n > 0, "messages are counted from 1");
        let armed = Armed { side, left: n, cut };
        Self {
            armed: Some(armed),
            has_fired: false,
        }
    }

    pub(super) fn disarm(&mut self) {
        self.armed = None;
    }

    pub(super) fn has_fired(&self) -> bool {
        self.has_fired
    }

    /// Counts a message of `side`, and returns the fault to inject after it, if there is one.
    pub(super) fn count(&mut self, side: Side) -> Option<Cut> {
        let armed = self.armed.as_mut().filter(|armed| armed.side == side)?;
        armed.left -= 1;
        if armed.left > 0 {
            return None;
        }
        self.has_fired = true;
        self.armed.take().map(|armed| armed.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigger_fires_once_at_its_message() {
        let mut trigger = FaultTrigger::armed(Side::Client, 2, Cut::Fin);
        assert_eq!(trigger.count(Side::Client), None);
        assert_eq!(trigger.count(Side::Server), None);
        assert!(!trigger.has_fired());
        assert_eq!(trigger.count(Side::Client), Some(Cut::Fin));
        assert!(trigger.has_fired());
        assert_eq!(trigger.count(Side::Client), None);
    }

    #[test]
    fn disarmed_trigger_does_not_fire() {
        let mut trigger = FaultTrigger::armed(Side::Server, 1, Cut::Reset);
        trigger.disarm();
        assert_eq!(trigger.count(Side::Server), None);
        assert!(!trigger.has_fired());
    }
}
