//! Looks again and again.

use std::io::{Stdout, Write as _, stdout};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{cursor, execute, queue, style::Print};
use tokio::signal::unix::{SignalKind, signal};

use crate::age::age;
use crate::exit::{Code, Failure};
use crate::ls::Look;
use crate::output;

/// How soon a key is noticed.
const ATTENTION: Duration = Duration::from_millis(200);

pub(crate) async fn watch(look: &mut Look, interval: Duration) -> Result<(), Failure> {
    if let Some(json) = look.json().await {
        return follow(look, interval, json?).await;
    }
    if output::is_terminal() {
        return redraw(look, interval).await;
    }
    let text = look.text(None).await?;
    follow(look, interval, text).await
}

/// One look after the other, until the reader has gone.
async fn follow(look: &mut Look, interval: Duration, first: String) -> Result<(), Failure> {
    output::line(first)?;
    loop {
        tokio::time::sleep(interval).await;
        let next = match look.json().await {
            Some(json) => json?,
            None => format!("\n{}", look.text(None).await?),
        };
        output::line(next)?;
    }
}

/// In place, until `q`, Ctrl-C or the end of the terminal.
async fn redraw(look: &mut Look, interval: Duration) -> Result<(), Failure> {
    let started = Instant::now();
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| broken(&error))?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(|error| broken(&error))?;
    let mut screen = Screen::enter()?;
    loop {
        let (width, height) = terminal::size().map_err(|error| broken(&error))?;
        let text = look.text(Some(width.into())).await;
        let text = text.unwrap_or_else(|failure| format!("{failure}; trying again"));
        let head = format!(
            "every {}, for {} now; q ends it",
            age(interval),
            age(started.elapsed())
        );
        screen.draw(&head, &text, height.into())?;
        tokio::select! {
            is_over = attend(interval) => if is_over? { return Ok(()) },
            _ = terminated.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
        }
    }
}

/// Waits for the next look; true if it is not wanted. A terminal of another size is looked at once.
async fn attend(interval: Duration) -> Result<bool, Failure> {
    let due = Instant::now() + interval;
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        // Not for the whole of it: nothing but its own end ends this thread.
        let noticed = tokio::task::spawn_blocking(move || notice(left.min(ATTENTION)));
        match noticed.await.map_err(|error| broken(&error.into()))? {
            Ok(Some(Event::Key(key))) if is_end(key) => return Ok(true),
            Ok(Some(Event::Resize(..))) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(broken(&error)),
        }
    }
}

fn notice(within: Duration) -> std::io::Result<Option<Event>> {
    event::poll(within)?.then(event::read).transpose()
}

fn is_end(key: KeyEvent) -> bool {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press
        && matches!(
            (key.code, with_control),
            (KeyCode::Char('q') | KeyCode::Esc, false) | (KeyCode::Char('c' | 'd'), true)
        )
}

/// The terminal, which is put back as it was.
struct Screen(Stdout);

impl Screen {
    fn enter() -> Result<Self, Failure> {
        terminal::enable_raw_mode().map_err(|error| broken(&error))?;
        let mut screen = Self(stdout());
        execute!(
            screen.0,
            terminal::EnterAlternateScreen,
            terminal::DisableLineWrap,
            cursor::Hide
        )
        .map_err(|error| broken(&error))?;
        Ok(screen)
    }

    /// Line by line over what was there, so that nothing flickers.
    fn draw(&mut self, head: &str, text: &str, height: usize) -> Result<(), Failure> {
        let lines: Vec<_> = text.lines().collect();
        let room = height.saturating_sub(2);
        let shown = if lines.len() > room {
            room.saturating_sub(1)
        } else {
            lines.len()
        };
        let out = &mut self.0;
        let mut drawn = queue!(out, cursor::MoveTo(0, 0));
        let rest = (lines.len() > shown).then(|| format!("… and {} more", lines.len() - shown));
        let lines = [head, ""].into_iter().chain(lines[..shown].iter().copied());
        for (row, line) in lines.chain(rest.as_deref()).enumerate() {
            let end = if row == 0 { "" } else { "\r\n" };
            drawn = drawn.and_then(|()| {
                queue!(out, Print(end), Print(line), Clear(ClearType::UntilNewLine))
            });
        }
        drawn
            .and_then(|()| queue!(out, Clear(ClearType::FromCursorDown)))
            .and_then(|()| out.flush())
            .map_err(|error| broken(&error))
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

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(
        Code::Failure,
        format!("the terminal does not answer: {error}"),
    )
}
