//! What is wrong with an expression, with the place under a caret.

use std::fmt;

use unicode_width::UnicodeWidthStr;

/// Why a text is no filter expression. Displayed on three lines: what, the text, and a caret under
/// the place; on a fourth, a hint if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// What is wrong.
    pub message: String,
    /// The expression, with whatever is no plain text in a column of its own.
    text: String,
    /// Columns before the place.
    before: usize,
    /// Columns of the place; at least one.
    width: usize,
    hint: Option<&'static str>,
}

/// How much of the text is shown.
const SHOWN: usize = 90;

impl FilterError {
    pub(super) fn new(text: &str, place: std::ops::Range<usize>, message: impl Into<String>) -> FilterError {
        let plain = |text: &str| -> String {
            text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
        };
        let (before, rest) = text.split_at(place.start);
        let (inside, after) = rest.split_at(place.len());
        let (mut before, inside, mut after) = (plain(before), plain(inside), plain(after));
        // Of a long one, what is around the place.
        while before.width() > SHOWN / 2 {
            before.remove(0);
        }
        while after.width() > SHOWN / 2 {
            after.pop();
        }
        FilterError {
            message: message.into(),
            width: inside.width().max(1),
            text: format!("{before}{inside}{after}"),
            before: before.width(),
            hint: None,
        }
    }

    pub(super) fn with_hint(self, hint: &'static str) -> FilterError {
        FilterError { hint: Some(hint), ..self }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FilterError { message, text, before, width, hint } = self;
        write!(f, "{message}\n  {text}\n  {:before$}{:^<width$}", "", "")?;
        hint.map_or(Ok(()), |hint| write!(f, "\n  {hint}"))
    }
}

impl std::error::Error for FilterError {}
