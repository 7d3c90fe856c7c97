//! The colours of the chart.

use std::env;
use std::fmt::Display;
use std::io::{IsTerminal as _, stdout};

use anstyle::{AnsiColor, Style};

use crate::timeline::{Ending, State};

/// Paints text in colour, or leaves it plain.
pub(crate) struct Palette {
    is_coloured: bool,
}

impl Palette {
    /// Paints in colour if stdout is a terminal and [`NO_COLOR`](https://no-color.org) is not set.
    pub(crate) fn of_stdout() -> Self {
        Self {
            is_coloured: stdout().is_terminal() && env::var_os("NO_COLOR").is_none(),
        }
    }

    pub(crate) fn bold(&self, text: impl Display) -> String {
        self.paint(Style::new().bold(), text)
    }

    pub(crate) fn dim(&self, text: impl Display) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    pub(crate) fn state(&self, state: State, text: impl Display) -> String {
        let colour = match state {
            State::Unlocked => AnsiColor::Blue,
            State::Waiting => AnsiColor::Yellow,
            State::Sharing => AnsiColor::Cyan,
            State::Holding => AnsiColor::Green,
        };
        self.paint(colour.on_default(), text)
    }

    pub(crate) fn ending(&self, ending: &Ending, text: impl Display) -> String {
        let colour = match ending {
            Ending::Done(_) => AnsiColor::Green,
            Ending::Failed(_) => AnsiColor::Red,
            Ending::Skipped(_) => AnsiColor::Magenta,
        };
        self.paint(colour.on_default().bold(), text)
    }

    fn paint(&self, style: Style, text: impl Display) -> String {
        if self.is_coloured {
            format!("{style}{text}{style:#}")
        } else {
            text.to_string()
        }
    }
}
