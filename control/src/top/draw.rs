//! The screen, cell by cell, as a function of the model.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, Widget};

use super::history;
use super::model::{PoolRow, Screen};
use crate::clock::whole_second;
use crate::daemon::Awaited;
use crate::words::span;

/// Below this there is room for the first lines only.
const SMALLEST: (u16, u16) = (50, 12);
/// Of lines above columns.
pub(super) const HEAD: Style = Style::new().fg(Color::Cyan).bold();

/// Draws everything.
pub(super) fn draw(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let area = area.intersection(buffer.area);
    if area.is_empty() {
        return;
    }
    let [head, rest] = Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(area);
    draw_head(screen, head, buffer);
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        Paragraph::new("make the window larger: 80 columns, 24 lines").render(rest, buffer);
        return;
    }
    let [body, foot] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(u16::from(!screen.plain))]).areas(rest);
    match screen.history {
        true => history::draw(&screen.scene.generations, body, buffer),
        false => draw_traffic(screen, body, buffer),
    }
    if !screen.plain {
        let other = if screen.history { "traffic" } else { "generations" };
        Line::from(format!("q quit  p pause  s sort pools  g {other}  h help")).dim().render(foot, buffer);
    }
    if screen.help {
        draw_help(area, buffer);
    }
}

/// Ports, denies, workers, phases, pools; and the history below them, if pools leave room.
fn draw_traffic(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let scene = &screen.scene;
    let most = area.height.saturating_sub(2);
    let lines = |count: usize, share: u16| {
        u16::try_from(count.max(1)).unwrap_or(u16::MAX).min((most / share).max(2)) + 1
    };
    let ports = lines(scene.ports.len(), 4);
    let workers = lines(scene.workers.len(), 5);
    let middle = (workers + lines(scene.phases.len(), 5)).max(lines(scene.denies.len(), 3));
    let [ports_area, middle, bottom] =
        Layout::vertical([Constraint::Length(ports), Constraint::Length(middle), Constraint::Min(2)])
            .areas(area);
    let pools = u16::try_from(scene.pools.len().max(1)).unwrap_or(u16::MAX).saturating_add(1);
    // A heading and a generation at least, or all of it is the pools'.
    let pools = if bottom.height.saturating_sub(pools) > 2 { pools } else { bottom.height };
    let [pools, history] = Layout::vertical([Constraint::Length(pools), Constraint::Fill(1)]).areas(bottom);
    draw_ports(screen, ports_area, buffer);
    let [left, gap_and_right] =
        Layout::horizontal([Constraint::Percentage(48), Constraint::Fill(1)]).areas(middle);
    let [_, right] = Layout::horizontal([Constraint::Length(2), Constraint::Fill(1)]).areas(gap_and_right);
    draw_denies(screen, left, buffer);
    let [workers_area, phases_area] =
        Layout::vertical([Constraint::Length(workers), Constraint::Fill(1)]).areas(right);
    draw_workers(screen, workers_area, buffer);
    draw_phases(screen, phases_area, buffer);
    draw_pools(screen, pools, buffer);
    history::draw(&scene.generations, history, buffer);
}

fn draw_head(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let scene = &screen.scene;
    let mut first = vec![
        Span::from(format!("sekisho {}", scene.version)).bold(),
        format!(
            "  generation {} since {}  up {}",
            scene.generation,
            whole_second(&scene.since),
            span(scene.uptime)
        )
        .into(),
    ];
    if screen.paused {
        first.insert(1, " PAUSED".black().on_yellow());
    }
    let received: f64 = scene.ports.iter().map(|port| port.received).sum();
    let bits: f64 = scene.ports.iter().map(|port| port.received_bits).sum();
    let denied: f64 = scene.denies.iter().map(|deny| deny.rate).sum();
    let second = match (&screen.gone, scene.awaited) {
        (Some(why), _) => {
            Line::from(format!("the daemon does not answer, looking for it: {why}")).white().on_red()
        }
        (None, Some(Awaited { generation, previous, seconds_left })) => {
            let left = span(seconds_left);
            Line::from(format!(
                "generation {generation} awaits `sekisho confirm`: {previous} comes back in {left}"
            ))
            .black()
            .on_yellow()
        }
        (None, None) => Line::from(format!(
            "{}  {}/s  {}bit/s  denied {}/s  {}, {} refused",
            whole_second(&scene.now),
            si(received),
            si(bits),
            si(denied),
            crate::words::plural(scene.reloads as usize, "reload"),
            scene.refused
        )),
    };
    Paragraph::new(vec![Line::from(first), second]).render(area, buffer);
}

/// Rows under a line of headings; columns but the `left` ones are flush right.
fn table<'a>(
    rows: impl Iterator<Item = (Vec<String>, Style)> + 'a,
    headings: &[&str],
    widths: &[Constraint],
    left: &[usize],
    area: Rect,
    buffer: &mut Buffer,
) {
    let cell = |(at, text): (usize, String)| {
        let line = Line::from(text);
        Cell::from(if left.contains(&at) { line } else { line.right_aligned() })
    };
    let heading: Vec<Cell<'_>> =
        headings.iter().map(|text| (*text).to_owned()).enumerate().map(cell).collect();
    let rows = rows.take(usize::from(area.height)).map(|(texts, style)| {
        Row::new(texts.into_iter().enumerate().map(cell).collect::<Vec<_>>()).style(style)
    });
    let table = Table::new(rows, widths.iter().copied()).header(Row::new(heading).style(HEAD));
    Widget::render(table.column_spacing(1), area, buffer);
}

fn draw_ports(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let rows = screen.scene.ports.iter().map(|port| {
        let style = if port.outage.is_some() { Style::new().red() } else { Style::new() };
        let state = port.outage.clone().unwrap_or_else(|| "up".to_owned());
        let texts = vec![
            port.name.clone(),
            port.role.clone(),
            si(port.received),
            si(port.received_bits),
            si(port.left),
            si(port.left_bits),
            si(port.missed as f64),
            state,
        ];
        (texts, style)
    });
    let headings = ["port", "role", "in/s", "bit/s", "out/s", "bit/s", "missed", "state"];
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(10),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Fill(2),
    ];
    table(rows, &headings, &widths, &[0, 1, 7], area, buffer);
}

fn draw_denies(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let denies = screen.scene.denies.iter();
    let rows = denies
        .map(|row| (vec![row.reason.clone(), si(row.rate), si(row.count as f64)], Style::new()))
        .chain(nothing(screen.scene.denies.is_empty(), "nothing denied"));
    let widths = [Constraint::Fill(1), Constraint::Length(8), Constraint::Length(8)];
    table(rows, &["denied, by reason", "/s", "in all"], &widths, &[0], area, buffer);
}

fn nothing(is_so: bool, text: &str) -> impl Iterator<Item = (Vec<String>, Style)> {
    is_so.then(|| (vec![text.to_owned()], Style::new().dim())).into_iter()
}

fn draw_workers(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let rows = screen.scene.workers.iter().map(|worker| {
        let busy = match (worker.running, worker.busy) {
            (false, _) => "ended".to_owned(),
            (true, None) => "-".to_owned(),
            (true, Some(share)) => format!("{:.0} %", share * 100.0),
        };
        let style = match worker.busy {
            _ if !worker.running => Style::new().red(),
            Some(share) if share > 0.9 => Style::new().yellow(),
            _ => Style::new(),
        };
        let filled = (worker.busy.unwrap_or(0.0).clamp(0.0, 1.0) * 10.0).round() as usize;
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(10 - filled));
        (vec![worker.worker.to_string(), worker.core.to_string(), si(worker.packets), bar, busy], style)
    });
    let widths = [
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(6),
    ];
    table(rows, &["worker", "core", "/s", "busy", ""], &widths, &[0, 3], area, buffer);
}

fn draw_phases(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let rows = screen.scene.phases.iter().map(|phase| {
        let (when, style) = match phase.begun {
            true => (format!("since {}", span(phase.seconds)), Style::new()),
            false => (format!("in {}", span(phase.seconds)), Style::new().yellow()),
        };
        (vec![phase.name.clone(), phase.policy.clone(), when], style)
    });
    let rows = rows.chain(nothing(screen.scene.phases.is_empty(), "none"));
    let widths = [Constraint::Fill(1), Constraint::Fill(1), Constraint::Length(17)];
    table(rows, &["phase", "policy", "begins"], &widths, &[0, 1], area, buffer);
}

fn draw_pools(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let row = |pool: &PoolRow| {
        let numbers = [pool.packets, pool.denied, pool.monitored, pool.packet_count as f64];
        let mut texts = vec![pool.name.clone(), pool.title.clone()];
        texts.extend(numbers.map(si));
        texts.push(si(pool.denied_count as f64));
        (texts, Style::new())
    };
    let rows = screen.scene.pools.iter().map(row);
    let rows = rows.chain(nothing(screen.scene.pools.is_empty(), "no pools"));
    let sorted = format!("pool, by {}", screen.sort.word());
    let headings = [&sorted, "title", "/s", "denied/s", "monit./s", "in all", "denied"];
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(3),
        Constraint::Length(7),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    table(rows, &headings, &widths, &[0, 1], area, buffer);
}

fn draw_help(area: Rect, buffer: &mut Buffer) {
    const LINES: [&str; 9] = [
        "q, Ctrl-C  quit",
        "p, space   hold the picture, or go on",
        "s          sort pools by denied, packets,",
        "           monitored, name",
        "g          the last generations, or traffic",
        "h, ?       this help; Esc closes it",
        "",
        "Rates are those of the last interval.",
        "Busy: share of time in rounds with packets.",
    ];
    let (width, height) = (48.min(area.width), (LINES.len() as u16 + 2).min(area.height));
    let place =
        Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height);
    Clear.render(place, buffer);
    let block = Block::new().borders(Borders::ALL).title(" help ");
    Paragraph::new(LINES.map(Line::from).to_vec()).block(block).render(place, buffer);
}

/// A number in six columns at most: `999`, `12.3 k`, `4.56 M`.
pub(super) fn si(number: f64) -> String {
    // The sum of nothing is minus zero.
    let number = number + 0.0;
    if number < 999.5 {
        return match number {
            _ if number > 0.0 && number < 9.95 && number.fract() != 0.0 => format!("{number:.1}"),
            _ => format!("{number:.0}"),
        };
    }
    let mut scaled = number;
    for unit in ["k", "M", "G", "T", "P", "E"] {
        scaled /= 1000.0;
        if scaled < 999.5 || unit == "E" {
            let places = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
            return format!("{scaled:.places$} {unit}");
        }
    }
    String::new()
}
