//! The words of a configuration, for reports.

use sekisho_dataplane::policy::{Action, Kind, Role};

/// A role as the configuration writes it.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Subscriber => "subscriber",
        Role::Internet => "internet",
        Role::Servers => "servers",
        Role::Filter => "filter",
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
