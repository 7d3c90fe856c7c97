//! `ls --watch`: shows a list again at an interval.

use std::io::{self, Stdout, Write as _, stdout};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{cursor, execute, queue, style::Print};
use tokio::signal::unix::{SignalKind, signal};

use crate::duration::age;
use crate::exit::Failure;
use crate::output;

/// The longest time until a key press is noticed.
const KEY_POLL: Duration = Duration::from_millis(200);

/// Prints one list after another, until the reader closes the output.
pub(super) async fn follow(
    interval: Duration,
    separator: &str,
    mut list: impl AsyncFnMut() -> Result<String, Failure>,
) -> Result<(), Failure> {
    output::print_line(list().await?)?;
    loop {
        tokio::time::sleep(interval).await;
        output::print_line(format!("{separator}{}", list().await?))?;
    }
}

/// Redraws the list in place, until `q`, Ctrl-C or the end of the terminal. `list` is called with
/// the width of the terminal.
pub(super) async fn redraw(
    interval: Duration,
    mut list: impl AsyncFnMut(usize) -> Result<String, Failure>,
) -> io::Result<()> {
    let started = Instant::now();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut screen = Screen::enter()?;
    loop {
        let (width, height) = terminal::size()?;
        let text = list(width.into()).await;
        let text = text.unwrap_or_else(|failure| format!("{failure}; trying again"));
        let (every, total) = (age(interval), age(started.elapsed()));
        let head = format!("every {every}, for {total} now; q ends it");
        screen.draw(&head, &text, height.into())?;
        tokio::select! {
            is_quit = wait(interval) => if is_quit? { return Ok(()) },
            _ = terminated.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
        }
    }
}

/// Waits until the list is to be drawn again: after the interval, or when the terminal is resized.
/// Returns true if a key ends the command instead.
async fn wait(interval: Duration) -> io::Result<bool> {
    let due = Instant::now() + interval;
    loop {
        let rest = due.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Ok(false);
        }
        // A blocking thread cannot be cancelled, so it polls for a short time only.
        let poll = tokio::task::spawn_blocking(move || poll_event(rest.min(KEY_POLL)));
        match poll.await.map_err(io::Error::from)?? {
            Some(Event::Key(key)) if is_quit(key) => return Ok(true),
            Some(Event::Resize(..)) => return Ok(false),
            _ => {}
        }
    }
}

fn poll_event(timeout: Duration) -> io::Result<Option<Event>> {
    event::poll(timeout)?.then(event::read).transpose()
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
