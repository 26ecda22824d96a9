//! The last generations, on the screen: number, when, who, what became of it, and what it changed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};

use super::draw::HEAD;
use crate::clock::whole_second;
use crate::daemon::{Awaited, Recorded, State};
use crate::words::span;

/// A generation's lines.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct GenerationRow {
    pub(super) generation: u64,
    pub(super) at: String,
    pub(super) by: String,
    pub(super) state: State,
    /// Until it comes to its end by itself, if it awaits confirmation.
    pub(super) seconds_left: Option<f64>,
    /// What it changed, in short; empty for the first one.
    pub(super) change: String,
}

impl GenerationRow {
    pub(super) fn of(record: &Recorded, awaited: Option<Awaited>) -> GenerationRow {
        let back = record.restores.map(|restores| format!("back to {restores}"));
        let first = record.difference.first().cloned();
        let mut change = [back, first].into_iter().flatten().collect::<Vec<_>>().join(": ");
        let more = record.difference.len().saturating_sub(1);
        if more > 0 {
            change.push_str(&format!(", and {more} more"));
        }
        GenerationRow {
            generation: record.generation,
            at: whole_second(&record.at),
            by: record.author.to_string(),
            state: record.state,
            seconds_left: awaited
                .filter(|awaited| awaited.generation == record.generation)
                .map(|awaited| awaited.seconds_left),
            change,
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line<'static>> {
        let Self { generation, at, by, state, seconds_left, change } = self;
        let state = match seconds_left {
            Some(seconds) => format!("{} to confirm", span(*seconds)),
            None => state.to_string(),
        };
        let style = match (seconds_left, self.state) {
            (Some(_), _) => Style::new().fg(Color::Yellow),
            (None, State::InForce) => Style::new().bold(),
            (None, _) => Style::new(),
        };
        let first = format!("{generation:>10}  {at:<20}  {by:<22.22}  {state}");
        let second = (!change.is_empty()).then(|| Line::from(format!("            {change}")).dim());
        [Line::from(first).style(style)].into_iter().chain(second)
    }
}

/// Draws them, the latest first, as far as there is room.
pub(super) fn draw(rows: &[GenerationRow], area: Rect, buffer: &mut Buffer) {
    let head = Line::from(format!("generation  {:<20}  {:<22}  state", "at", "by")).style(HEAD);
    let lines = std::iter::once(head).chain(rows.iter().flat_map(GenerationRow::lines));
    Paragraph::new(lines.take(usize::from(area.height)).collect::<Vec<_>>()).render(area, buffer);
}
