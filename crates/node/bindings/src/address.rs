//! Which addresses code may reach: decided on what a name resolved to, so that no name leads around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    Public,
    /// Loopback and networks of one's own: where the binding allows it.
    Private,
    /// Link-local (a cloud's metadata, credentials among it), multicast, reserved.
    Never,
}

pub(crate) fn is_allowed(address: IpAddr, private: bool) -> bool {
    match range(address) {
        Range::Public => true,
        Range::Private => private,
        Range::Never => false,
    }
}

fn range(address: IpAddr) -> Range {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// Source: IANA's special-purpose registry for IPv4 (RFC 6890 and what followed).
fn v4(address: Ipv4Addr) -> Range {
    match address.octets() {
        [10 | 127, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Range::Private,
        [0, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [224..=255, ..] => Range::Never,
        _ => Range::Public,
    }
}

/// Source: the same for IPv6. An address that stands for one of IPv4 is judged as that one.
fn v6(address: Ipv6Addr) -> Range {
    let parts = address.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        v4(Ipv4Addr::new(a, b, c, d))
    };
    match parts {
        [0, 0, 0, 0, 0, 0, 0, 1] => Range::Private,
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        [0xfc00..=0xfdff, ..] => Range::Private,
        // Teredo and other protocols' own, documentation, 6to4.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Range::Never,
        [0x2000..=0x3fff, ..] => Range::Public,
        _ => Range::Never,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges() {
        use Range::{Never, Private, Public};
        for (text, want) in [
            ("8.8.8.8", Public),
            ("172.15.0.1", Public),
            ("172.32.0.1", Public),
            ("127.0.0.1", Private),
            ("127.9.9.9", Private),
            ("10.0.0.1", Private),
            ("172.16.0.1", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("169.254.169.254", Never),
            ("0.0.0.0", Never),
            ("224.0.0.1", Never),
            ("255.255.255.255", Never),
            ("2606:4700::1111", Public),
            ("::1", Private),
            ("fd00::1", Private),
            ("::", Never),
            ("fe80::1", Never),
            ("ff02::1", Never),
            ("2002:7f00:1::", Never),
            ("2001:0:1::", Never),
            ("::ffff:8.8.8.8", Public),
            ("::ffff:127.0.0.1", Private),
            ("::ffff:169.254.169.254", Never),
            ("64:ff9b::10.0.0.1", Private),
            ("::127.0.0.1", Never),
        ] {
            assert_eq!(range(text.parse().unwrap()), want, "{text}");
        }
        assert!(!is_allowed("127.0.0.1".parse().unwrap(), false));
        assert!(is_allowed("127.0.0.1".parse().unwrap(), true));
        assert!(!is_allowed("169.254.169.254".parse().unwrap(), true));
    }
}
