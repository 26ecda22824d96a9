//! The vocabulary that a configuration and the decision engine share.

/// What a port's side of the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The customers' side: what is received here is *outbound*.
    Subscriber,
    /// The outside: what is received here is *inbound*.
    Internet,
    /// The provider's own mail segment.
    Servers,
    /// An SMTP filter that diverted traffic is sent to.
    Filter,
}

/// What holds for the customers of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Port 25 is restricted by the policy's phases.
    Restrict,
    /// Port 25 is open (static customers).
    Exempt,
    /// Port 25 is closed, own servers included.
    Quarantine,
}

/// What a deny of the policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Nothing is sent.
    Drop,
    /// The sender gets a RST or an ICMP error.
    Reject,
    /// The unchanged packet goes to the `filter` port.
    Divert,
    /// Forwarded, and counted under the reason it would have had.
    Monitor,
}

/// How a `reject` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectWith {
    /// A TCP segment with RST (RFC 9293 §3.10.7.1).
    Rst,
    /// ICMPv4 3/13 (RFC 1812 §5.2.7.1) or ICMPv6 1/1 (RFC 4443 §3.1).
    Icmp,
}

/// What a `divert` does while the filter is down; never a silent forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DivertFallback {
    /// As [`Action::Reject`].
    Reject,
    /// As [`Action::Drop`].
    Drop,
}

/// Whether the way back to a source must lead where its packet came from, in route mode (RFC 3704 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ReversePath {
    /// It is not asked.
    #[default]
    Off,
    /// There must be a way to it.
    Loose,
    /// One of the ways to it must be the link that the packet came by.
    Strict,
}

/// What happens to a customer-side source address that is in no pool (RFC 3704).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceValidation {
    /// Dropped as `spoofed-source`.
    Enforce,
    /// Forwarded, and counted as would-drop.
    Monitor,
    /// Not looked at.
    Off,
}
