//! The reasons: why a packet left the way it did. Every packet leaves with exactly one.

use std::fmt;

/// Declares the reasons once: variant, code, and what it means.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)+) => {
        /// Why a packet was forwarded or denied. Adding one means adding a variant here, with its code and
        /// its meaning; counters, metrics and reports follow from [`Reason::ALL`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
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

            /// One sentence for people.
            pub const fn meaning(self) -> &'static str {
                match self { $(Reason::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// Not IPv4 or IPv6 after the link's headers (rule 1).
    NotIp = "not-ip",
    /// More VLAN tags and MPLS labels than the limit, from a customer (rule 2).
    EncapDepth = "encap-depth",
    /// Headers that contradict themselves or the frame (rule 3).
    Malformed = "malformed",
    /// IPv4 source route or IPv6 routing header type 0 (rule 4).
    SourceRoute = "source-route",
    /// A source address that no host has (rule 5).
    BogonSource = "bogon-source",
    /// A customer-side source address in no pool (rule 6).
    SpoofedSource = "spoofed-source",
    /// A first fragment too small for TCP's header, or one aimed at its flags (F3, F5).
    TinyFragment = "tiny-fragment",
    /// A header chain too long, nested, or not whole in the first fragment (F4, F10, F11, rule 8).
    HeaderChain = "header-chain",
    /// A fragment that would overwrite its datagram's upper-layer header (F7).
    FragmentOverlap = "fragment-overlap",
    /// A later fragment, treated as its first was (F6).
    FragmentFollow = "fragment-follow",
    /// A later fragment whose first is not known (F8, F10).
    FragmentOrphan = "fragment-orphan",
    /// UDP, ICMP, SCTP and other protocols without TCP's ports (rule 9).
    NotTcp = "not-tcp",
    /// ESP, tunnels and unknown next headers (rule 9).
    Opaque = "opaque",
    /// Message submission, port 587 or 465 (rule 10).
    Submission = "submission",
    /// TCP to another port (rule 10).
    OtherPort = "other-port",
    /// TCP from the provider's own servers or filter (rule 11).
    ServerOrigin = "server-origin",
    /// Port 25 from a customer in quarantine (rule 12).
    Port25Quarantine = "port25-quarantine",
    /// Port 25 behind an IPv6 routing header that hides the destination (rule 13).
    RoutedHeader = "routed-header",
    /// Port 25 to a server that is always reachable (rule 14).
    AllowedDestination = "allowed-destination",
    /// Port 25 from an exempt pool (rule 15).
    ExemptPool = "exempt-pool",
    /// Port 25 from a customer with a live grant (rule 16).
    ExemptGrant = "exempt-grant",
    /// Port 25 from a source in no pool while a phase is in force (rule 17).
    Port25UnknownSource = "port25-unknown-source",
    /// Port 25 to a destination that a phase in force blocks (rule 18).
    Port25Egress = "port25-egress",
    /// Port 25 that no phase in force covers (rule 19).
    NotInScope = "not-in-scope",
    /// An outside server's answer on port 25 to a customer who may not talk to it (rule 20).
    Port25Mirror = "port25-mirror",
    /// An outside server's answer on port 25 that may pass (rule 21).
    ReturnAllowed = "return-allowed",
    /// Mail from outside to port 25 (rule 22).
    InboundMail = "inbound-mail",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_reason_has_a_meaning() {
        let codes: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::COUNT);
        assert!(Reason::ALL.iter().all(|r| r.meaning().ends_with('.')));
        assert!(Reason::ALL.iter().enumerate().all(|(at, r)| *r as usize == at));
    }
}
