//! What is wrong with a configuration, told to people as the Rust compiler tells it, and to machines as data.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::source::Excerpt;

/// A configuration was refused: every problem found in it, in the order of the file.
///
/// Its `Display` is [`ConfigError::render`] without colour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.render(Colour::Off))]
pub struct ConfigError {
    problems: Vec<Problem>,
    found: usize,
}

/// One problem, and how it is put right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The configuration, or the file of prefixes that the problem stands in.
    pub file: String,
    /// The line, from 1. Line 1, column 1 for what concerns a whole file.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The other place, where it takes two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<Related>,
    /// The line itself; `None` where none can be shown.
    #[serde(skip)]
    pub(super) excerpt: Option<Excerpt>,
}

/// Another place that a problem involves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Its file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1, in characters.
    pub column: usize,
    /// What stands there.
    pub message: String,
    #[serde(skip)]
    pub(super) excerpt: Excerpt,
}

/// Whether a rendered error carries ANSI escape sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Off,
    /// With escape sequences, for a terminal.
    On,
}

impl ConfigError {
    /// A rendered error shows no more problems than this, and says how many there are.
    pub const SHOWN: usize = 50;
    /// An error holds no more problems than this; [`ConfigError::found`] counts the rest as well.
    pub const KEPT: usize = 1_000;

    /// `problems` is not empty and in order; `found` says how many there were before [`ConfigError::KEPT`].
    pub(super) fn new(problems: Vec<Problem>, found: usize) -> Self {
        Self { problems, found }
    }

    /// The problems, in the order of the file, files of prefixes after the configuration itself.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many problems were found, those beyond [`ConfigError::KEPT`] included.
    pub fn found(&self) -> usize {
        self.found
    }

    /// The problems as text of at most 100 columns (a longer path excepted), without a newline at the end.
    pub fn render(&self, colour: Colour) -> String {
        let pen = match colour {
            Colour::Off => Pen::default(),
            Colour::On => Pen::COLOURED,
        };
        let mut texts: Vec<String> =
            self.problems.iter().take(Self::SHOWN).map(|problem| pen.problem(problem)).collect();
        let shown = texts.len();
        if self.found > 1 {
            let mut closing = format!("the configuration has {} problems", self.found);
            if shown < self.found {
                closing.push_str(&format!("; the first {shown} are shown"));
            }
            texts.push(pen.title(pen.error, "error", &closing));
        }
        texts.join("\n\n")
    }
}

/// Everything stays within so many columns.
const WIDTH: usize = 100;

/// The styles of a rendered error; none by default.
#[derive(Clone, Copy, Default)]
struct Pen {
    error: Style,
    note: Style,
    title: Style,
    frame: Style,
}

impl Pen {
    const COLOURED: Self = Self {
        error: AnsiColor::BrightRed.on_default().bold(),
        note: AnsiColor::BrightGreen.on_default().bold(),
        title: Style::new().bold(),
        frame: AnsiColor::BrightBlue.on_default().bold(),
    };

    fn problem(self, problem: &Problem) -> String {
        let Problem { file, line, column, message, help, related, excerpt } = problem;
        let gutter =
            " ".repeat(related.iter().map(|other| other.line).fold(*line, usize::max).to_string().len());
        let mut text = self.title(self.error, "error", message);
        match excerpt {
            Some(excerpt) => {
                self.snippet(&mut text, &gutter, file, (*line, *column), excerpt, self.error);
                self.framed(&mut text, &gutter, "|");
            }
            None => {
                let _ = write!(text, "\n{gutter}{}-->{} {file}", self.frame, self.frame.render_reset());
            }
        }
        self.framed(&mut text, &gutter, "=");
        let label = " help: ";
        let indent = gutter.len() + " =".len() + label.len();
        let _ = write!(text, "{}{label}{}{}", self.title, self.title.render_reset(), wrapped(help, indent));
        if let Some(Related { file, line, column, message, excerpt }) = related {
            text.push('\n');
            text.push_str(&self.title(self.note, "note", message));
            self.snippet(&mut text, &gutter, file, (*line, *column), excerpt, self.frame);
        }
        text
    }

    fn title(self, level: Style, word: &str, message: &str) -> String {
        let message = wrapped(message, word.len() + 2);
        let Self { title, .. } = self;
        format!("{level}{word}{}{title}: {message}{}", level.render_reset(), title.render_reset())
    }

    fn snippet(
        self,
        text: &mut String,
        gutter: &str,
        file: &str,
        (line, column): (usize, usize),
        excerpt: &Excerpt,
        mark: Style,
    ) {
        let Self { frame, .. } = self;
        let frame_end = frame.render_reset();
        let _ = write!(text, "\n{gutter}{frame}-->{frame_end} {file}:{line}:{column}");
        self.framed(text, gutter, "|");
        let _ = write!(text, "\n{frame}{line:>width$} |{frame_end} {}", excerpt.text, width = gutter.len());
        self.framed(text, gutter, "|");
        let carets = "^".repeat(excerpt.marked.max(1));
        let _ = write!(text, " {}{mark}{carets}{}", " ".repeat(excerpt.before), mark.render_reset());
    }

    /// A line that begins with a piece of the frame.
    fn framed(self, text: &mut String, gutter: &str, piece: &str) {
        let _ = write!(text, "\n{gutter}{} {piece}{}", self.frame, self.frame.render_reset());
    }
}

/// Breaks a text between words into lines that begin behind `indent` columns. A word wider than a line stays whole:
/// [`quoted`] keeps those short.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::with_capacity(text.len());
    let mut used = indent;
    for word in text.split(' ') {
        let width = word.width();
        if used > indent && used + 1 + width > WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            used = indent;
        } else if used > indent {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(word);
        used += width;
    }
    lines
}

/// Something that somebody wrote, as part of a message: in backquotes, without control characters, not too long.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shown(text, 60))
}

/// A text of at most `most` characters, those escaped that could disturb a terminal.
pub(super) fn shown(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == most {
            out.push('…');
            break;
        }
        if disturbs(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character controls a terminal or turns the direction of writing around.
pub(super) fn disturbs(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> Problem {
        Problem {
            file: "a.toml".into(),
            line: 7,
            column: 3,
            message: "something is wrong".into(),
            help: "put it right".into(),
            related: None,
            excerpt: Some(Excerpt { text: "a = 関所".into(), before: 4, marked: 4 }),
        }
    }

    #[test]
    fn a_problem_is_drawn_as_the_compiler_draws_it() {
        let error = ConfigError::new(vec![problem()], 1);
        assert_eq!(
            error.to_string(),
            "error: something is wrong
 --> a.toml:7:3
  |
7 | a = 関所
  |     ^^^^
  |
  = help: put it right"
        );
    }

    #[test]
    fn the_other_place_follows_in_a_note() {
        let related = Related {
            file: "b.txt".into(),
            line: 12,
            column: 1,
            message: "the first one".into(),
            excerpt: Excerpt { text: "192.0.2.0/24".into(), before: 0, marked: 12 },
        };
        let error = ConfigError::new(vec![Problem { related: Some(related), ..problem() }], 1);
        assert_eq!(
            error.to_string(),
            "error: something is wrong
  --> a.toml:7:3
   |
 7 | a = 関所
   |     ^^^^
   |
   = help: put it right
note: the first one
  --> b.txt:12:1
   |
12 | 192.0.2.0/24
   | ^^^^^^^^^^^^"
        );
    }

    #[test]
    fn what_concerns_a_whole_file_shows_no_line() {
        let error = ConfigError::new(vec![Problem { excerpt: None, ..problem() }], 1);
        assert_eq!(error.to_string(), "error: something is wrong\n --> a.toml\n  = help: put it right");
    }

    #[test]
    fn colour_is_escape_sequences_around_the_same_text() {
        let error = ConfigError::new(vec![problem()], 1);
        let coloured = error.render(Colour::On);
        assert!(coloured.contains("\u{1b}[") && !error.render(Colour::Off).contains('\u{1b}'));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some(at) = rest.find("\u{1b}[") {
            plain.push_str(&rest[..at]);
            rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
        }
        assert_eq!(plain + rest, error.to_string());
    }

    #[test]
    fn many_problems_are_counted_and_the_first_are_shown() {
        let error = ConfigError::new(vec![problem(); 60], 2_000);
        let text = error.to_string();
        assert_eq!(text.matches("error: something is wrong").count(), ConfigError::SHOWN);
        assert!(text.ends_with("\n\nerror: the configuration has 2000 problems; the first 50 are shown"));
    }

    #[test]
    fn a_long_message_is_wrapped_under_itself() {
        let error = ConfigError::new(
            vec![Problem { message: "word ".repeat(40), help: "more ".repeat(40), ..problem() }],
            1,
        );
        let text = error.to_string();
        assert!(text.lines().all(|line| line.width() <= WIDTH), "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with("       word"), "{text}");
    }

    #[test]
    fn a_machine_gets_the_places_and_no_drawing() {
        assert_eq!(
            serde_json::to_string(&problem()).unwrap(),
            r#"{"file":"a.toml","line":7,"column":3,"message":"something is wrong","help":"put it right"}"#
        );
    }

    #[test]
    fn what_is_quoted_cannot_disturb_a_terminal() {
        assert_eq!(quoted("a\u{1b}[2J\u{202e}b"), "`a\\u{1b}[2J\\u{202e}b`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
    }
}
