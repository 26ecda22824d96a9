//! What a customer looks like: a mail program that is set up for the wrong port, or a computer that somebody else uses.
//!
//! A mail program hands everything to the one server, or the few, that it was set up with. What sends spam delivers by
//! itself, to the mail server of each recipient, and so knocks at many. The line is drawn at [`MANY_DESTINATIONS`]
//! distinct destinations: a provider's submission name has a handful of addresses at most, and the estimate errs by a
//! tenth. A customer that gets answers and never asked sends its SYNs by another way with the address that it has here
//! (Qian et al., "Investigation of triangular spamming", 2010), which no mail program does.
//!
//! A hint is no proof: a mail server that a customer runs looks like the second. It says whom to call first, and what to
//! ask.

use serde::{Deserialize, Serialize};

/// From so many distinct destinations on, a customer does not look like a mail program any more.
pub const MANY_DESTINATIONS: u64 = 10;

/// What a customer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Hint {
    /// Fewer than [`MANY_DESTINATIONS`] distinct destinations.
    #[serde(rename = "mail client")]
    MailClient,
    /// That many or more, or nothing but answers to what was never asked here.
    #[serde(rename = "infected")]
    Infected,
}

impl Hint {
    /// By a customer's attempts, the answers among them, and its distinct destinations.
    pub fn of(attempts: u64, answers: u64, distinct: u64) -> Hint {
        match distinct >= MANY_DESTINATIONS || answers == attempts {
            true => Hint::Infected,
            false => Hint::MailClient,
        }
    }

    /// In a word or two.
    pub const fn words(self) -> &'static str {
        match self {
            Hint::MailClient => "mail client",
            Hint::Infected => "infected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_servers_are_a_mail_clients_and_many_or_answers_alone_are_not() {
        for (attempts, answers, distinct, hint) in [
            (1, 0, 1, Hint::MailClient),
            (9_000, 4_000, 9, Hint::MailClient),
            (10, 0, 10, Hint::Infected),
            (70_000, 0, 30_000, Hint::Infected),
            (3, 3, 1, Hint::Infected),
        ] {
            assert_eq!(Hint::of(attempts, answers, distinct), hint);
            assert_eq!(serde_json::to_value(hint).unwrap(), hint.words());
        }
    }
}
