//! The words of a configuration, and of people, for reports.

use sekisho_dataplane::policy::{
    Action, DivertFallback, Kind, RejectWith, ReversePath, Role, SourceValidation,
};
use sekisho_dataplane::port::xdp::{XdpMode, ZeroCopy};
use sekisho_dataplane::worker::Poll;

use crate::config::{HealthCheck, Mode, Privacy, Rate};

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

/// A mode as the configuration writes it.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Bridge => "bridge",
        Mode::Route => "route",
    }
}

/// A check of a filter as the configuration writes it.
pub(crate) fn health_check(check: HealthCheck) -> &'static str {
    match check {
        HealthCheck::Arp => "arp",
        HealthCheck::Nd => "nd",
        HealthCheck::Tcp => "tcp",
    }
}

/// How fast a capture is played, as the configuration writes it.
pub(crate) fn rate(rate: Rate) -> &'static str {
    match rate {
        Rate::AsFastAsPossible => "as-fast-as-possible",
        Rate::Capture => "capture",
    }
}

/// Where an XDP program runs, as the configuration writes it.
pub(crate) fn xdp_mode(mode: XdpMode) -> &'static str {
    match mode {
        XdpMode::Auto => "auto",
        XdpMode::Native => "native",
        XdpMode::Generic => "generic",
    }
}

/// Whether the kernel copies, as the configuration writes it.
pub(crate) fn zero_copy(zero_copy: ZeroCopy) -> &'static str {
    match zero_copy {
        ZeroCopy::Auto => "auto",
        ZeroCopy::On => "on",
        ZeroCopy::Off => "off",
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

/// A source check as the configuration writes it.
pub(crate) fn reverse_path(check: ReversePath) -> &'static str {
    match check {
        ReversePath::Strict => "strict",
        ReversePath::Loose => "loose",
        ReversePath::Off => "off",
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

/// A span of time in its two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0 if seconds > 0.0 => format!("{:.0} ms", seconds * 1e3),
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole % 3_600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, told) in [
            (0.0, "0 s"),
            (0.25, "250 ms"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (7_260.0, "2 h 1 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(span(seconds), told);
        }
    }
}
