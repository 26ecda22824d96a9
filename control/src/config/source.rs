//! The texts that a configuration is read from, and places in them.
//!
//! A place is a range of bytes. Only when a problem is told does it become line, column and excerpt; a good
//! configuration never pays for that, and a bad one pays no more for a line of 60 MiB than for a short one.

use std::ops::Range;
use std::rc::Rc;

use unicode_width::UnicodeWidthChar;

use super::error::disturbs;

/// One of the texts read: the configuration itself, or a file of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SourceId(pub(super) usize);

impl SourceId {
    /// The configuration itself.
    pub(super) const MAIN: Self = Self(0);
}

/// Some bytes of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: SourceId,
    pub(super) span: Range<usize>,
}

impl Place {
    /// A place in the configuration itself.
    pub(super) fn main(span: Range<usize>) -> Self {
        Self { source: SourceId::MAIN, span }
    }
}

/// A text and the name of its file.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: Rc<str>,
}

/// The part of a line that is shown, at most [`Excerpt::COLUMNS`] columns of it, as it is put on a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    pub(super) text: String,
    /// How many columns stand before what is underlined.
    pub(super) before: usize,
    /// How many columns are underlined; none where nothing stands.
    pub(super) marked: usize,
}

impl Excerpt {
    /// With a line number of eight digits beside it, this stays within 100 columns.
    const COLUMNS: usize = 84;
    /// The most that is underlined.
    const MARKED: usize = 60;
    /// What follows the underlined part is worth so much of what precedes it.
    const BEHIND: usize = 16;
    const CUT: char = '…';
}

/// Finds lines and columns in a source. Made once per source that has a problem.
pub(super) struct Lines<'a> {
    text: &'a str,
    /// Where each line begins.
    starts: Vec<usize>,
    /// How many characters begin before each multiple of [`Lines::STRIDE`] bytes.
    chars_before: Vec<usize>,
}

impl<'a> Lines<'a> {
    const STRIDE: usize = 4096;

    pub(super) fn new(text: &'a str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        let mut chars_before = vec![0];
        let mut total = 0;
        for block in text.as_bytes().chunks(Self::STRIDE) {
            total += count_chars(block);
            chars_before.push(total);
        }
        Self { text, starts, chars_before }
    }

    /// Line and column of a byte, both from 1; the column counts characters.
    pub(super) fn locate(&self, at: usize) -> (usize, usize) {
        let at = char_boundary(self.text, at);
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        (line, self.chars_up_to(at) - self.chars_up_to(start) + 1)
    }

    fn chars_up_to(&self, at: usize) -> usize {
        let block = at / Self::STRIDE;
        self.chars_before[block] + count_chars(&self.text.as_bytes()[block * Self::STRIDE..at])
    }

    /// The line that a span begins in, or a window of it around the span.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> Excerpt {
        let from = char_boundary(self.text, span.start);
        let line = self.starts.partition_point(|start| *start <= from);
        let line_start = self.starts[line - 1];
        // The first line of a longer span; a newline itself is the empty end of its line.
        let line_end = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        let line_end = if self.text[line_start..line_end].ends_with('\r') { line_end - 1 } else { line_end };
        let from = from.min(line_end.max(line_start));
        let until = char_boundary(self.text, span.end).clamp(from, line_end.max(from));

        let (marked, marked_width) = fitting(self.text[from..until].chars(), Excerpt::MARKED);
        let marked_end = from + marked;
        let (_, behind_width) =
            fitting(self.text[marked_end..line_end.max(marked_end)].chars(), Excerpt::BEHIND);
        let room = Excerpt::COLUMNS - 2 - marked_width;
        let (before, before_width) = fitting(self.text[line_start..from].chars().rev(), room - behind_width);
        let (behind, _) =
            fitting(self.text[marked_end..line_end.max(marked_end)].chars(), room - before_width);

        let cut_before = from - before > line_start;
        let cut_behind = marked_end + behind < line_end;
        let mut text = String::with_capacity(before + marked + behind + 6);
        text.extend(cut_before.then_some(Excerpt::CUT));
        for c in self.text[from - before..marked_end + behind].chars() {
            match c {
                '\t' => text.push_str("    "),
                c if disturbs(c) => text.push(char::REPLACEMENT_CHARACTER),
                c => text.push(c),
            }
        }
        text.extend(cut_behind.then_some(Excerpt::CUT));
        Excerpt { text, before: before_width + usize::from(cut_before), marked: marked_width }
    }
}

/// The start of the character that a byte belongs to, or the end of the text.
fn char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The length in bytes and the width in columns of the leading characters that fit into `columns`.
fn fitting(chars: impl Iterator<Item = char>, columns: usize) -> (usize, usize) {
    // Characters without width are bounded as well.
    let most = 4 * columns;
    let (mut bytes, mut width) = (0, 0);
    for c in chars.take(most) {
        let wide = width_of(c);
        if width + wide > columns {
            break;
        }
        bytes += c.len_utf8();
        width += wide;
    }
    (bytes, width)
}

/// The columns that a character takes in an excerpt.
fn width_of(c: char) -> usize {
    match c {
        '\t' => 4,
        c if disturbs(c) => 1,
        c => c.width().unwrap_or(1),
    }
}

fn count_chars(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_counts_characters_and_a_line_counts_newlines() {
        let text = "a = 1\ntitle = \"My-BフレッツF/M-B\" # x\n";
        let lines = Lines::new(text);
        assert_eq!(lines.locate(0), (1, 1));
        assert_eq!(lines.locate(text.find('#').unwrap()), (2, 25));
        assert_eq!(lines.locate(text.len()), (3, 1));
    }

    #[test]
    fn a_column_is_right_far_into_a_long_line() {
        let text = format!("x\n{}!", "関".repeat(20_000));
        assert_eq!(Lines::new(&text).locate(text.len() - 1), (2, 20_001));
    }

    #[test]
    fn a_place_inside_a_character_is_that_character() {
        assert_eq!(Lines::new("関所").locate(4), (1, 2));
        assert_eq!(
            Lines::new("関所").excerpt(&(4..6)),
            Excerpt { text: "関所".into(), before: 2, marked: 2 }
        );
    }

    #[test]
    fn a_short_line_is_shown_whole_without_its_line_end() {
        let excerpt = Lines::new("first\r\nsecond line\r\n").excerpt(&(14..18));
        assert_eq!(excerpt, Excerpt { text: "second line".into(), before: 7, marked: 4 });
    }

    #[test]
    fn of_a_long_line_a_window_around_the_place_is_shown() {
        let text = format!("{}HERE{}", "a".repeat(300), "b".repeat(300));
        let excerpt = Lines::new(&text).excerpt(&(300..304));
        let marked: String = excerpt.text.chars().skip(excerpt.before).take(excerpt.marked).collect();
        assert_eq!(marked, "HERE");
        assert_eq!(excerpt.text.chars().count(), Excerpt::COLUMNS);
        assert!(excerpt.text.starts_with("…a") && excerpt.text.ends_with("b…"));
    }

    #[test]
    fn of_a_span_over_several_lines_the_first_line_is_marked() {
        let excerpt = Lines::new("phases = [\n  1,\n]\n").excerpt(&(9..17));
        assert_eq!(excerpt, Excerpt { text: "phases = [".into(), before: 9, marked: 1 });
    }

    #[test]
    fn tabs_controls_and_wide_characters_keep_the_mark_below_its_text() {
        let excerpt = Lines::new("\t関\u{1b}X = 1").excerpt(&(5..6));
        assert_eq!(excerpt, Excerpt { text: "    関\u{fffd}X = 1".into(), before: 7, marked: 1 });
    }

    #[test]
    fn a_place_at_the_very_end_has_an_empty_mark() {
        assert_eq!(Lines::new("a").excerpt(&(1..1)), Excerpt { text: "a".into(), before: 1, marked: 0 });
        assert_eq!(Lines::new("a\n").excerpt(&(1..2)), Excerpt { text: "a".into(), before: 1, marked: 0 });
        assert_eq!(Lines::new("").excerpt(&(7..9)), Excerpt { text: "".into(), before: 0, marked: 0 });
    }
}
