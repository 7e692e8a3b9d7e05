//! Where a client is.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Where a client is, as far as can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// At this address.
    Address(IpAddr),
    /// On this machine: a process of the user with this number.
    User(u32),
}

impl Remote {
    /// What is counted as one where nobody says who they are: of IPv6 what one client usually has of the address space, a /64.
    #[must_use]
    pub fn counted(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(network(address)),
            Self::User(_) => self,
        }
    }

    /// Its address, where it has one.
    #[must_use]
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::User(_) => None,
        }
    }

    /// An IPv4 address inside an IPv6 one is the IPv4 address.
    #[must_use]
    pub fn to_canonical(self) -> Self {
        match self {
            Self::Address(address) => Self::Address(address.to_canonical()),
            Self::User(_) => self,
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl From<IpAddr> for Remote {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::User(uid) => write!(f, "uid {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_counted_by_its_network_and_a_user_by_its_number() {
        for (address, counted) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(Remote::Address(address.parse().expect("an address")).counted().to_string(), counted);
        }
        assert_eq!(Remote::User(7).counted(), Remote::User(7));
        assert_eq!(Remote::User(7).to_string(), "uid 7");
    }
}
