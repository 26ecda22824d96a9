//! An expression's words, with their places.

use std::ops::Range;

/// A word or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) text: &'a str,
    pub(super) place: Range<usize>,
}

/// Takes a text apart: parentheses, `!`, `&&` and `||` stand for themselves, everything else is words between blanks.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        let length = match letter {
            blank if blank.is_whitespace() => {
                at += blank.len_utf8();
                continue;
            }
            '(' | ')' | '!' => 1,
            '&' | '|' => text[at..].chars().take_while(|next| *next == letter).take(2).count(),
            _ => {
                let ends = |next: char| next.is_whitespace() || "()!&|".contains(next);
                text[at..].find(ends).unwrap_or(text.len() - at)
            }
        };
        tokens.push(Token { text: &text[at..at + length], place: at..at + length });
        at += length;
    }
    tokens
}
