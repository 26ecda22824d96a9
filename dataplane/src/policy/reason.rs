//! The reasons: why a packet left the way it did. Every packet leaves with exactly one.

use std::fmt;

/// Declares the reasons once: what it means, variant, code, the rule of the policy that gives it, and what that may do.
macro_rules! reasons {
    ($(#[doc = $meaning:literal] $variant:ident = $code:literal, rule $rule:literal, $may:ident;)+) => {
        /// Why a packet was forwarded or denied. Adding one means adding a variant here, with its code, its
        /// meaning and its rule; counters, metrics and reports follow from [`Reason::ALL`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)+
        }

        impl Reason {
            /// All reasons, in the order of the policy's rules.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The code that reports, metrics and vectors use.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code,)+ }
            }

            /// A few words for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Reason::$variant => $meaning.trim_ascii(),)+ }
            }

            /// The rules of the policy that give it.
            pub const fn rule(self) -> &'static str {
                match self { $(Reason::$variant => $rule,)+ }
            }

            /// What these may do with a packet.
            pub const fn may(self) -> May {
                match self { $(Reason::$variant => May::$may,)+ }
            }
        }
    };
}

/// What a rule may do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// It lets packets pass, and no other.
    Pass,
    /// It denies packets, whatever they are for.
    Deny,
    /// It denies packets of port 25, which makes a customer affected.
    DenyMail,
}

reasons! {
    /// not IPv4 or IPv6 after the link's headers
    NotIp = "not-ip", rule "1", Pass;
    /// too many VLAN tags and MPLS labels
    EncapDepth = "encap-depth", rule "2", Deny;
    /// headers contradict themselves or the frame
    Malformed = "malformed", rule "3", Deny;
    /// source route, or IPv6 routing header type 0
    SourceRoute = "source-route", rule "4", Deny;
    /// a source address that no host has
    BogonSource = "bogon-source", rule "5", Deny;
    /// a customer-side source in no pool
    SpoofedSource = "spoofed-source", rule "6", Deny;
    /// a fragment that cuts TCP's header
    TinyFragment = "tiny-fragment", rule "F3 F5", Deny;
    /// header chain too long, nested or cut
    HeaderChain = "header-chain", rule "F4 F10 F11 8", Deny;
    /// a fragment over its datagram's header
    FragmentOverlap = "fragment-overlap", rule "F7", Deny;
    /// a later fragment, treated as its first was
    FragmentFollow = "fragment-follow", rule "F6", Deny;
    /// a later fragment whose first is not known
    FragmentOrphan = "fragment-orphan", rule "F8 F10", Pass;
    /// UDP, ICMP, SCTP and other protocols
    NotTcp = "not-tcp", rule "9", Pass;
    /// ESP, tunnels, unknown headers
    Opaque = "opaque", rule "8 9", Pass;
    /// message submission, port 587 or 465
    Submission = "submission", rule "10", Pass;
    /// TCP to another port
    OtherPort = "other-port", rule "10", Pass;
    /// TCP from the provider's servers or filter
    ServerOrigin = "server-origin", rule "11", Pass;
    /// port 25 from a customer in quarantine
    Port25Quarantine = "port25-quarantine", rule "12", DenyMail;
    /// port 25 behind a hidden destination
    RoutedHeader = "routed-header", rule "13", DenyMail;
    /// port 25 to a server always reachable
    AllowedDestination = "allowed-destination", rule "14", Pass;
    /// port 25 from an exempt pool
    ExemptPool = "exempt-pool", rule "15", Pass;
    /// port 25 from a customer with a grant
    ExemptGrant = "exempt-grant", rule "16", Pass;
    /// port 25 from a source in no pool
    Port25UnknownSource = "port25-unknown-source", rule "17", DenyMail;
    /// port 25 to what a phase in force blocks
    Port25Egress = "port25-egress", rule "18", DenyMail;
    /// port 25 that no phase in force covers
    NotInScope = "not-in-scope", rule "19", Pass;
    /// port 25's answer to who may not ask
    Port25Mirror = "port25-mirror", rule "20", DenyMail;
    /// port 25's answer that may pass
    ReturnAllowed = "return-allowed", rule "21", Pass;
    /// mail from outside to port 25
    InboundMail = "inbound-mail", rule "22", Pass;
    /// for the router itself, handed to the kernel
    Punted = "punted", rule "route", Pass;
    /// for the router itself, and too many
    PuntOverflow = "punt-overflow", rule "route", Deny;
    /// for the router itself, and nobody hears it
    Unclaimed = "unclaimed", rule "route", Deny;
    /// a frame for another station's MAC
    OtherStation = "other-station", rule "route", Deny;
    /// a VLAN that the port is not in
    NoLink = "no-link", rule "route", Deny;
    /// an IPv4 header with a wrong checksum
    BadChecksum = "bad-checksum", rule "route", Deny;
    /// an address that is not to be forwarded
    Martian = "martian", rule "route", Deny;
    /// to a group beyond its link
    Multicast = "multicast", rule "route", Deny;
    /// to all stations of a connected network
    DirectedBroadcast = "directed-broadcast", rule "route", Deny;
    /// the way to its source is another one
    ReversePath = "reverse-path", rule "route", Deny;
    /// its time to live ends here
    TtlExceeded = "ttl-exceeded", rule "route", Deny;
    /// no route to its destination
    NoRoute = "no-route", rule "route", Deny;
    /// a route that drops in silence
    Blackhole = "blackhole", rule "route", Deny;
    /// a route that says unreachable
    Unreachable = "unreachable", rule "route", Deny;
    /// a route that says prohibited
    Prohibited = "prohibited", rule "route", Deny;
    /// longer than the next link takes
    TooBig = "too-big", rule "route", Deny;
    /// the next hop does not answer
    Unresolved = "unresolved", rule "route", Deny;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// Some of the reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons(u64);

const _: () = assert!(Reason::COUNT <= u64::BITS as usize, "reasons fit a word");

impl Reasons {
    /// All of them.
    pub const ALL: Reasons = Reasons(u64::MAX);
    /// Those of denies on port 25, which make a customer affected.
    pub const PORT_25: Reasons = Reasons::that(&[May::DenyMail]);
    /// Those of all denies.
    pub const DENIES: Reasons = Reasons::that(&[May::Deny, May::DenyMail]);

    /// Those of frames that a router merely sees.
    pub(crate) const STRANGERS: Reasons =
        Reasons::of(&[Reason::Unclaimed, Reason::OtherStation, Reason::NoLink]);

    /// Those whose rules may do one of these.
    const fn that(may: &[May]) -> Reasons {
        let (mut bits, mut at) = (0, 0);
        while at < Reason::COUNT {
            let mut wanted = 0;
            while wanted < may.len() {
                if Reason::ALL[at].may() as u8 == may[wanted] as u8 {
                    bits |= 1 << at;
                }
                wanted += 1;
            }
            at += 1;
        }
        Reasons(bits)
    }

    /// These.
    pub const fn of(reasons: &[Reason]) -> Reasons {
        let (mut bits, mut at) = (0, 0);
        while at < reasons.len() {
            bits |= 1 << reasons[at] as u32;
            at += 1;
        }
        Reasons(bits)
    }

    /// Whether this is one of them.
    #[inline]
    pub const fn has(self, reason: Reason) -> bool {
        self.0 >> reason as u32 & 1 == 1
    }

    /// As a word, for an atomic.
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// From that word.
    pub(crate) const fn from_bits(bits: u64) -> Reasons {
        Reasons(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_reason_has_a_meaning() {
        let codes: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::COUNT);
        assert!(Reason::ALL.iter().all(|r| (10..=44).contains(&r.meaning().len())));
        assert!(Reason::ALL.iter().enumerate().all(|(at, r)| *r as usize == at));
    }
}
