//! `ls --watch`: shows a list again at an interval.

use std::io::{self, Stdout, Write as _, stdout};
use std::time::{Duration, Instant};

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{cursor, execute, queue, style::Print};
use futures_util::StreamExt as _;
use tokio::time::sleep;

use crate::acquire::Signals;
use crate::duration::age;
use crate::exit::Failure;
use crate::output;

/// Prints one list after another, until the reader closes the output.
pub(super) async fn follow(
    interval: Duration,
    separator: &str,
    mut list: impl AsyncFnMut() -> Result<String, Failure>,
) -> Result<(), Failure> {
    output::print_line(list().await?)?;
    loop {
        sleep(interval).await;
        output::print_line(format!("{separator}{}", list().await?))?;
    }
}

/// Redraws the list in place, until `q`, Ctrl-C, a signal or the end of the terminal, also while a
/// list is awaited. `list` is called with the width of the terminal.
pub(super) async fn redraw(
    interval: Duration,
    signals: &mut Signals,
    mut list: impl AsyncFnMut(usize) -> Result<String, Failure>,
) -> io::Result<()> {
    let started = Instant::now();
    let mut screen = Screen::enter()?;
    let mut events = EventStream::new();
    loop {
        let (width, height) = terminal::size()?;
        let shown = async {
            let text = list(width.into()).await;
            let text = text.unwrap_or_else(|failure| format!("{failure}; trying again"));
            let (every, total) = (age(interval), age(started.elapsed()));
            let head = format!("every {every}, for {total} now; q ends it");
            screen.draw(&head, &text, height.into())?;
            sleep(interval).await;
            io::Result::Ok(())
        };
        tokio::select! {
            shown = shown => shown?,
            is_quit = quit_or_resize(&mut events) => if is_quit? { return Ok(()) },
            _ = signals.next() => return Ok(()),
        }
    }
}

/// Waits for a key that ends the command, and returns true, or for a new size of the terminal.
async fn quit_or_resize(events: &mut EventStream) -> io::Result<bool> {
    loop {
        match events.next().await.transpose()? {
            Some(Event::Key(key)) if is_quit(key) => return Ok(true),
            Some(Event::Resize(..)) => return Ok(false),
            Some(_) => {}
            None => return Ok(true),
        }
    }
}

fn is_quit(key: KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && matches!(
            (key.code, with_control),
            (KeyCode::Char('q') | KeyCode::Esc, false) | (KeyCode::Char('c' | 'd'), true)
        )
}

/// The alternate screen of the terminal. The terminal is restored when this is dropped.
struct Screen(Stdout);

impl Screen {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let mut screen = Self(stdout());
        execute!(
            screen.0,
            terminal::EnterAlternateScreen,
            terminal::DisableLineWrap,
            cursor::Hide
        )?;
        Ok(screen)
    }

    /// Draws each line over the previous one, so that the screen does not flicker.
    fn draw(&mut self, head: &str, text: &str, height: usize) -> io::Result<()> {
        let lines: Vec<_> = text.lines().collect();
        let max_lines = height.saturating_sub(2);
        let shown = if lines.len() > max_lines {
            max_lines.saturating_sub(1)
        } else {
            lines.len()
        };
        let rest = (lines.len() > shown).then(|| format!("… and {} more", lines.len() - shown));
        let lines = [head, ""].into_iter().chain(lines[..shown].iter().copied());
        let out = &mut self.0;
        queue!(out, cursor::MoveTo(0, 0))?;
        for (row, line) in lines.chain(rest.as_deref()).enumerate() {
            let end = if row == 0 { "" } else { "\r\n" };
            queue!(out, Print(end), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(
            self.0,
            cursor::Show,
            terminal::EnableLineWrap,
            terminal::LeaveAlternateScreen
        );
        let _ = terminal::disable_raw_mode();
    }
}
