//! Routers of a lab: from the switch of a LAN to an outer one, with the NATs that homes and firms have. IPv4
//! only, and no hairpins: nobody reaches a neighbour by the outside address. What is said through a router
//! does not live here.

mod natpmp;
mod tests;

use std::net::Ipv4Addr;

use super::lab::{Host, Lab, Route, Wire, skip};

/// What a router makes of UDP from inside, and whom it lets in; the words are those of RFC 3489 §5.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Nat {
    /// Nothing is changed and everything passes.
    Routed,
    /// One outside port for each inside address and port. What anybody sends there comes in.
    FullCone,
    /// The same; only what comes from an address that was sent to from there comes in.
    Restricted,
    /// The same; only from an address and port that were sent to from there, as with most homes.
    Cone,
    /// One outside port for each destination as well, which alone may answer.
    Symmetric,
}

/// A router. Its `eth0` is the outer side, so that [`Lab::loss`] and [`Lab::unplug`] meet the way out, and
/// `eth1` the inner one.
pub(crate) struct Router {
    host: Host,
    nat: Nat,
    /// How often it has forgotten, from 1.
    life: u16,
}

/// Goes through where a machine has all that the rules below need.
const PROBE: &str = "table ip probe {
        chain zone { type filter hook prerouting priority raw; ct zone set 1; }
        chain out {
            type nat hook postrouting priority srcnat
            meta l4proto udp masquerade to :jhash ip saddr mod 2 seed 1 offset 32768
        }
    }
    delete table ip probe";

impl Lab {
    /// A router between two switches, with an address on each. It is the default route of every host on the
    /// inner one, whenever it comes; where it is [`Nat::Routed`], hosts on the outer one know the way in.
    /// `None`, with a printed reason, where this machine has no packet filter that could do it.
    pub(crate) fn router(&mut self, name: &str, inner: Wire<'_>, outer: Wire<'_>, nat: Nat) -> Option<Router> {
        let host = self.host(name, outer);
        self.cable(name, inner);
        host.sysctl("net.ipv4.ip_forward=1");
        // Only what the machine lacks is a reason to skip: a mistake in the rules is none.
        if let Err(why) = host.nft(PROBE) {
            return skip(&why);
        }
        let router = Router { host, nat, life: 1 };
        router.apply();
        let ((inside, bits), (outside, _)) = (address(inner), address(outer));
        let mut route = |wire: Wire<'_>, to: String, via: Ipv4Addr| {
            let (switch, router) = (wire.switch_name().to_owned(), name.to_owned());
            self.route(Route { switch, router, to, via: via.to_string() });
        };
        route(inner, "default".to_owned(), inside);
        if nat == Nat::Routed {
            let net = Ipv4Addr::from_bits(inside.to_bits() & u32::MAX << (32 - bits));
            route(outer, format!("{net}/{bits}"), outside);
        }
        Some(router)
    }
}

impl Router {
    /// The way out goes silent, in both directions: nobody is told. The LAN itself goes on.
    pub(crate) fn cut(&self) {
        self.rule("table ip cut { chain forward { type filter hook forward priority -10; policy drop; }; }");
    }

    /// Undoes [`Self::cut`].
    pub(crate) fn heal(&self) {
        self.rule("table ip cut; delete table ip cut");
    }

    /// Forgets every mapping, as by a power cut. Whoever speaks next gets another outside port, and what is
    /// sent to the old ones is dropped.
    pub(crate) fn forget(&mut self) {
        self.life += 1;
        self.apply();
    }

    /// Forgets, and comes back with another outside address. Not for [`Nat::Routed`], to which others know
    /// the way by the old one.
    pub(crate) fn renumber(&mut self, address: &str) {
        self.host.ip("addr flush dev eth0");
        self.host.ip(&format!("addr add {address} brd + dev eth0"));
        self.forget();
    }

    fn rule(&self, rules: &str) {
        self.host.nft(rules).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Writes all its rules anew.
    ///
    /// Connections live in a zone that bears the number of this life: those of an earlier one are out of
    /// sight at once. Learned is which inside address and port an outside port stands for, and whom that
    /// has spoken to; not from answers to a stranger, since his connection has him as its inside.
    /// Unsolicited datagrams must be dropped at `input`: one that comes early for a hole punched from both
    /// sides would become a connection of the router itself and keep the outside port.
    fn apply(&self) {
        let (life, out, into) = (self.life, self.nat.out(self.life), self.nat.into());
        let unsolicited = if self.nat == Nat::Routed { "accept" } else { "drop" };
        self.rule(&format!(
            "table ip nat
            delete table ip nat
            table ip nat {{
                map inside {{ type inet_service : ipv4_addr . inet_service; flags timeout; timeout 2m; size 1024; }}
                set spoken {{ type ipv4_addr . inet_service; flags timeout; timeout 2m; size 1024; }}
                chain zone {{ type filter hook prerouting priority raw; ct zone set {life}; }}
                chain into {{ type nat hook prerouting priority dstnat; {into}; }}
                chain out {{ type nat hook postrouting priority srcnat; {out}; }}
                chain learn {{
                    type filter hook postrouting priority srcnat + 10
                    oifname != eth0 accept
                    ct direction reply accept
                    meta l4proto udp update @inside {{ ct reply proto-dst : ct original ip saddr . ct original proto-src }}
                    meta l4proto udp update @spoken {{ ip daddr . ct reply proto-dst }}
                }}
                chain input {{ type filter hook input priority filter; iifname eth0 ct state new {unsolicited}; }}
                chain forward {{
                    type filter hook forward priority filter
                    iifname eth0 ct state new ct status & dnat == 0 {unsolicited}
                }}
            }}"
        ));
    }
}

impl Nat {
    /// The rule for what leaves. Linux by itself is no cone: it keeps the inside port towards each
    /// destination where that is free, so that two hosts with one port take it from each other. Therefore
    /// a cone's outside port is a hash of inside address and port, and of the router's life.
    fn out(self, life: u16) -> String {
        let hash = format!("jhash ip saddr . udp sport mod 28232 seed {life} offset 32768");
        match self {
            Self::Routed => String::new(),
            Self::FullCone | Self::Restricted | Self::Cone => {
                format!("oifname eth0 meta l4proto udp masquerade to :{hash}")
            }
            Self::Symmetric => "oifname eth0 masquerade random,fully-random".to_owned(),
        }
    }

    /// The rule for what nobody inside has asked for.
    fn into(self) -> &'static str {
        match self {
            Self::FullCone => "iifname eth0 dnat ip to udp dport map @inside",
            Self::Restricted => "iifname eth0 ip saddr . udp dport @spoken dnat ip to udp dport map @inside",
            Self::Routed | Self::Cone | Self::Symmetric => "",
        }
    }
}

/// Address and prefix length of a side of a router.
fn address(wire: Wire<'_>) -> (Ipv4Addr, u8) {
    let (address, bits) = wire.v4.and_then(|v4| v4.split_once('/')).expect("each side has an address");
    (address.parse().expect("an IPv4 address"), bits.parse().expect("a prefix length"))
}
