//! The words of a configuration, and of people, for reports.

use sekisho_dataplane::policy::{Action, DivertFallback, Kind, RejectWith, Role, SourceValidation};
use sekisho_dataplane::worker::Poll;

use crate::config::Privacy;

/// A role as the configuration writes it.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Subscriber => "subscriber",
        Role::Internet => "internet",
        Role::Servers => "servers",
        Role::Filter => "filter",
    }
}

/// How customers are named, as the configuration writes it.
pub(crate) fn privacy(privacy: Privacy) -> &'static str {
    match privacy {
        Privacy::Off => "off",
        Privacy::Hash => "hash",
    }
}

/// A policy's kind as the configuration writes it.
pub(crate) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Restrict => "restrict",
        Kind::Exempt => "exempt",
        Kind::Quarantine => "quarantine",
    }
}

/// An action as the configuration writes it.
pub(crate) fn action(action: Action) -> &'static str {
    match action {
        Action::Drop => "drop",
        Action::Reject => "reject",
        Action::Divert => "divert",
        Action::Monitor => "monitor",
    }
}

/// An idle strategy as the configuration writes it.
pub(crate) fn poll(poll: Poll) -> &'static str {
    match poll {
        Poll::Busy => "busy",
        Poll::Adaptive => "adaptive",
        Poll::Interrupt => "interrupt",
    }
}

/// How a reject answers, as the configuration writes it.
pub(crate) fn reject_with(with: RejectWith) -> &'static str {
    match with {
        RejectWith::Rst => "rst",
        RejectWith::Icmp => "icmp",
    }
}

/// What a divert does without a filter, as the configuration writes it.
pub(crate) fn divert_fallback(fallback: DivertFallback) -> &'static str {
    match fallback {
        DivertFallback::Reject => "reject",
        DivertFallback::Drop => "drop",
    }
}

/// Rule 6 as the configuration writes it.
pub(crate) fn source_validation(validation: SourceValidation) -> &'static str {
    match validation {
        SourceValidation::Enforce => "enforce",
        SourceValidation::Monitor => "monitor",
        SourceValidation::Off => "off",
    }
}

/// `1 worker`, `2 workers`.
pub(crate) fn plural(count: usize, what: &str) -> String {
    format!("{count} {}", plural_of(count, what))
}

/// `worker` or `workers`.
pub(crate) fn plural_of(count: usize, what: &str) -> String {
    match count {
        1 => what.to_owned(),
        _ if what.ends_with('x') => format!("{what}es"),
        _ => format!("{what}s"),
    }
}
