//! One prefix: an address, a slash, a length, and no bits behind the length.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

/// Why a text is no prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Neither prefix nor address.
    #[error("not a prefix")]
    Grammar,
    /// Blanks around a prefix.
    #[error("not a prefix: there are blanks around it")]
    Blanks(IpNetwork),
    /// An address without a length.
    #[error("an address, not a prefix")]
    NoLength(IpAddr),
    /// IPv4 with a mask in the place of a length.
    #[error("written with a mask, not with a length")]
    Mask(IpNetwork),
    /// A length beyond the family's.
    #[error("longer than its addresses: they have {} bits", bits_of(.0))]
    TooLong(IpAddr),
    /// Bits behind the length: the prefix without them, and the address as written.
    #[error("a prefix with host bits set")]
    HostBits(IpNetwork, IpAddr),
    /// IPv4 addresses written as IPv6: the IPv4 prefix.
    #[error("IPv4 written as IPv6")]
    Mapped(IpNetwork),
}

impl PrefixError {
    /// What to write instead.
    pub fn help(&self) -> String {
        match self {
            Self::Grammar => {
                "write an address and a length, such as `192.0.2.0/24` or `2001:db8::/32`".into()
            }
            Self::Blanks(prefix) | Self::Mask(prefix) | Self::Mapped(prefix) => {
                format!("write `{prefix}`")
            }
            Self::NoLength(address) => {
                format!("for this one address, write `{}`", one_address(*address))
            }
            Self::TooLong(address) => format!("write a length from 0 to {}", bits_of(address)),
            Self::HostBits(prefix, address) => {
                format!("write `{prefix}`, or `{}` for the one address", one_address(*address))
            }
        }
    }
}

/// The prefix that a text names.
///
/// # Errors
/// The text is no prefix, has bits behind its length, or writes IPv4 as IPv6 (`::ffff:0:0/96`).
pub fn parse_prefix(text: &str) -> Result<IpNetwork, PrefixError> {
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse() {
            Ok(address) => PrefixError::NoLength(address),
            Err(_) => not_a_prefix(text),
        });
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(not_a_prefix(text));
    };
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    if length.is_empty() || !digits || (length.len() > 1 && length.starts_with('0')) {
        return Err(mask(address, length).unwrap_or_else(|| not_a_prefix(text)));
    }
    let length = length.parse::<u8>().map_err(|_| PrefixError::TooLong(address))?;
    let written = IpNetwork::new(address, length).map_err(|_| PrefixError::TooLong(address))?;
    if let Some(mapped) = mapped_ipv4(&written) {
        return Err(PrefixError::Mapped(mapped));
    }
    let cleared = without_host_bits(&written);
    if cleared != written {
        return Err(PrefixError::HostBits(cleared, address));
    }
    Ok(written)
}

fn not_a_prefix(text: &str) -> PrefixError {
    let trimmed = text.trim();
    let within = if trimmed.len() < text.len() { parse_prefix(trimmed).ok() } else { None };
    within.map_or(PrefixError::Grammar, PrefixError::Blanks)
}

/// `192.0.2.0/255.255.255.0`, which other programs take.
fn mask(address: IpAddr, mask: &str) -> Option<PrefixError> {
    let prefix = IpNetwork::with_netmask(address, IpAddr::V4(mask.parse().ok()?)).ok()?;
    Some(PrefixError::Mask(without_host_bits(&prefix)))
}

/// The IPv4 prefix that an IPv6 one within ::ffff:0:0/96 stands for, without host bits.
fn mapped_ipv4(prefix: &IpNetwork) -> Option<IpNetwork> {
    let IpNetwork::V6(prefix) = prefix else {
        return None;
    };
    let length = prefix.prefix().checked_sub(96)?;
    let address = prefix.ip().to_ipv4_mapped()?;
    Ipv4Network::new(address, length).ok().map(|prefix| without_host_bits(&IpNetwork::V4(prefix)))
}

fn without_host_bits(prefix: &IpNetwork) -> IpNetwork {
    // The length is one that the type has accepted.
    IpNetwork::new(prefix.network(), prefix.prefix()).unwrap_or(*prefix)
}

fn one_address(address: IpAddr) -> IpNetwork {
    IpNetwork::from(address)
}

fn bits_of(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Why an IPv6 prefix is none that NAT64 embeds addresses in (RFC 6052 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Nat64Error {
    #[error("an IPv4 prefix; NAT64 embeds IPv4 addresses in IPv6 ones")]
    V4,
    #[error("/{0}, a length that RFC 6052 has no place for an IPv4 address in")]
    Length(u8),
    #[error("a /96 whose bits 64 to 71 are not zero, as RFC 6052 has them")]
    Octet,
}

/// A prefix that NAT64 may use.
pub(super) fn nat64(prefix: IpNetwork) -> Result<Ipv6Network, Nat64Error> {
    /// Bits 64 to 71 ("u") are zero in every address of this format, and within the prefix if it is a /96.
    fn octet_u(address: Ipv6Addr) -> u8 {
        address.octets()[8]
    }
    match prefix {
        IpNetwork::V4(_) => Err(Nat64Error::V4),
        IpNetwork::V6(prefix) if ![32, 40, 48, 56, 64, 96].contains(&prefix.prefix()) => {
            Err(Nat64Error::Length(prefix.prefix()))
        }
        IpNetwork::V6(prefix) if octet_u(prefix.ip()) != 0 => Err(Nat64Error::Octet),
        IpNetwork::V6(prefix) => Ok(prefix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_is_read_in_any_spelling() {
        assert_eq!(parse_prefix("203.0.113.0/25"), Ok(network("203.0.113.0/25")));
        assert_eq!(parse_prefix("2001:0DB8:5000:0:0::/36"), Ok(network("2001:db8:5000::/36")));
        assert_eq!(parse_prefix("0.0.0.0/0"), Ok(network("0.0.0.0/0")));
        assert_eq!(parse_prefix("::/0"), Ok(network("::/0")));
    }

    #[test]
    fn host_bits_are_refused_with_both_prefixes_that_may_be_meant() {
        let error = parse_prefix("203.0.113.193/26").unwrap_err();
        assert_eq!(error.to_string(), "a prefix with host bits set");
        assert_eq!(error.help(), "write `203.0.113.192/26`, or `203.0.113.193/32` for the one address");
        assert!(matches!(parse_prefix("2001:db8:e800::/36"), Err(PrefixError::HostBits(..))));
    }

    #[test]
    fn an_address_alone_is_refused_with_its_length() {
        assert_eq!(
            parse_prefix("192.0.2.25").unwrap_err().help(),
            "for this one address, write `192.0.2.25/32`"
        );
        assert_eq!(
            parse_prefix("2001:db8::1").unwrap_err().help(),
            "for this one address, write `2001:db8::1/128`"
        );
    }

    #[test]
    fn a_length_beyond_the_family_is_refused() {
        for text in ["192.0.2.26/33", "192.0.2.26/300", "2001:db8::/129", "192.0.2.26/99999999999999999999"] {
            assert!(matches!(parse_prefix(text), Err(PrefixError::TooLong(_))), "{text}");
        }
        assert_eq!(
            parse_prefix("192.0.2.26/33").unwrap_err().to_string(),
            "longer than its addresses: they have 32 bits"
        );
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "",
            "/",
            "mx.example.net",
            "192.0.2/24",
            "192.0.2.0/",
            "192.0.2.0/+24",
            "192.0.2.0/024",
            "/24",
            "192.0.2.0/24/24",
            "fe80::1%eth0/64",
            "192.000.002.0/24",
            "192.0.2.0 /24",
        ] {
            assert_eq!(parse_prefix(text), Err(PrefixError::Grammar), "{text}");
        }
    }

    #[test]
    fn near_misses_are_told_what_they_would_be() {
        assert_eq!(parse_prefix(" 192.0.2.0/24"), Err(PrefixError::Blanks(network("192.0.2.0/24"))));
        assert_eq!(parse_prefix("192.0.2.7/255.255.255.0"), Err(PrefixError::Mask(network("192.0.2.0/24"))));
    }

    #[test]
    fn ipv4_written_as_ipv6_is_refused_with_the_ipv4_prefix() {
        assert_eq!(parse_prefix("::ffff:192.0.2.0/120"), Err(PrefixError::Mapped(network("192.0.2.0/24"))));
        assert_eq!(parse_prefix("::ffff:0:0/96"), Err(PrefixError::Mapped(network("0.0.0.0/0"))));
        assert!(parse_prefix("::/80").is_ok());
    }

    #[test]
    fn nat64_takes_the_lengths_of_rfc_6052_only() {
        for text in [
            "64:ff9b::/96",
            "2001:db8::/32",
            "2001:db8:100::/40",
            "2001:db8:64::/48",
            "2001:db8:64::/56",
            "2001:db8:64::/64",
        ] {
            assert!(nat64(network(text)).is_ok(), "{text}");
        }
        assert_eq!(nat64(network("2001:db8::/33")), Err(Nat64Error::Length(33)));
        assert_eq!(nat64(network("2001:db8::/128")), Err(Nat64Error::Length(128)));
        assert_eq!(nat64(network("192.0.2.0/24")), Err(Nat64Error::V4));
        assert_eq!(nat64(network("2001:db8:0:0:100::/96")), Err(Nat64Error::Octet));
        assert!(nat64(network("2001:db8:0:0:1::/96")).is_ok());
    }
}
