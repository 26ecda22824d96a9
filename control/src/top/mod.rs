//! `sekisho top`: the running daemon, live, over its control socket alone.
//!
//! ```text
//!  feed (a thread: asks, and connects again) ──Sample──▶ Screen (model) ──draw──▶ a buffer of cells ──▶ the terminal
//!                                             keys ────▶
//! ```
//!
//! Drawing is a function of the model and a buffer, so that tests see what people see.

mod draw;
mod feed;
mod history;
mod model;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::Rect;

use crate::rpc::CallError;
use feed::{Feed, Heard};
use model::Screen;

/// How late a signal is heard.
const TICK: Duration = Duration::from_millis(100);

/// Watches until told to quit. The terminal is as it was before, however this ends.
///
/// # Errors
/// When the daemon can't be reached at the start, or the terminal fails.
pub fn watch(socket: PathBuf, every: Duration) -> Result<(), Error> {
    let ended = Arc::<AtomicBool>::default();
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let mut screen = Screen::default();
    // Before the screen is taken: who can't be reached is complained of on a line.
    screen.hear(Heard::Sample(Box::new(feed::sample(&socket)?)));
    let feed = Feed::start(socket, every)?;
    // Restores it in a panic as well.
    let mut terminal = ratatui::try_init()?;
    let result = (|| -> io::Result<()> {
        let mut drawn = false;
        while !ended.load(Ordering::Relaxed) {
            while let Some(heard) = feed.try_next() {
                screen.hear(heard);
                drawn = false;
            }
            if !drawn {
                terminal.draw(|frame| draw::draw(&screen, frame.area(), frame.buffer_mut()))?;
                drawn = true;
            }
            if !event::poll(TICK)? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => break,
                    KeyCode::Char('q') => break,
                    KeyCode::Char('p' | ' ') => screen.pause(),
                    KeyCode::Char('s') => screen.sort_by_next(),
                    KeyCode::Char('g') => screen.history = !screen.history,
                    KeyCode::Char('h' | '?') => screen.help = !screen.help,
                    KeyCode::Esc => screen.help = false,
                    _ => {}
                },
                _ => {}
            }
            drawn = false;
        }
        Ok(())
    })();
    ratatui::try_restore()?;
    Ok(result?)
}

/// One frame as text, of what happened within `every`.
///
/// # Errors
/// When the daemon can't be reached.
pub fn once(socket: PathBuf, every: Duration, width: u16, height: u16) -> Result<String, Error> {
    let mut screen = Screen { plain: true, ..Screen::default() };
    screen.hear(Heard::Sample(Box::new(feed::sample(&socket)?)));
    std::thread::sleep(every);
    screen.hear(Heard::Sample(Box::new(feed::sample(&socket)?)));
    Ok(text(&screen, width, height))
}

/// What a screen of a size shows.
fn text(screen: &Screen, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw::draw(screen, area, &mut buffer);
    let mut text = String::new();
    for y in 0..height {
        let mut line = String::new();
        let mut x = 0;
        while x < width {
            let symbol = buffer[(x, y)].symbol();
            line.push_str(symbol);
            // A wide character stands in its first cell.
            x += u16::try_from(unicode_width::UnicodeWidthStr::width(symbol)).unwrap_or(1).max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    format!("{}\n", text.trim_end())
}

/// Why there is nothing to see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon can't be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The terminal fails.
    #[error("the terminal: {0}")]
    Terminal(#[from] io::Error),
}

#[cfg(test)]
mod tests;
