//! The link by which a peer is handed on, `p2pchat:ID?name=NAME&via=HOST:PORT`, and the `HOST:PORT` of a
//! seed, which stands in settings too: how both are written and read. Nothing is resolved or asked here.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use crate::{id::PeerId, text::Name};

/// What a link begins with.
pub const SCHEME: &str = "p2pchat:";
/// Seeds that a link names at most; their owner registers at no more (protocol, SEEDS).
pub const VIA_MAX: usize = 3;
/// Bytes of a link at most: an id, a name and the seeds with every byte of them encoded come to less.
pub const LINK_LEN_MAX: usize = 4_096;
/// Bytes of a host's name at most (RFC 1035 §2.3.4, as text).
const HOST_LEN_MAX: usize = 253;
/// Bytes of a label of a host's name at most (RFC 1035 §2.3.4).
const LABEL_LEN_MAX: usize = 63;

/// Who somebody is, and where to ask for where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactLink {
    /// Who.
    pub id: PeerId,
    /// What that peer calls itself; proves nothing.
    pub name: Option<Name>,
    /// Seeds that may know where it is, each as [`check_seed`] takes it; at most [`VIA_MAX`].
    pub via: Vec<String>,
}

/// Why a text is no [`ContactLink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at {at}: {why}")]
pub struct LinkError {
    /// Where, in characters from 1 on.
    pub at: usize,
    /// What is wrong there.
    pub why: &'static str,
}

impl ContactLink {
    /// A link of this id, name and seeds; of more than [`VIA_MAX`] seeds the first ones.
    pub fn new(id: PeerId, name: Option<Name>, seeds: &[String]) -> Self {
        Self { id, name, via: seeds.iter().take(VIA_MAX).cloned().collect() }
    }
}

impl fmt::Display for ContactLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.id)?;
        let name = self.name.iter().map(|name| ("name", name.as_str()));
        let via = self.via.iter().map(|seed| ("via", seed.as_str()));
        for (place, (key, value)) in name.chain(via).enumerate() {
            let mark = if place == 0 { '?' } else { '&' };
            write!(f, "{mark}{key}={}", encoded(value))?;
        }
        Ok(())
    }
}

impl FromStr for ContactLink {
    type Err = LinkError;

    /// A link, or an id alone. Keys of later versions are skipped, and so are a path and a fragment.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        if text.len() > LINK_LEN_MAX {
            return Err(LinkError { at: 1, why: "longer than a link can be" });
        }
        // Where in the text a part of it begins, for people.
        let wrong = |part: usize, why| LinkError { at: text.get(..part).unwrap_or(text).chars().count() + 1, why };
        let scheme = text.get(..SCHEME.len()).filter(|head| head.eq_ignore_ascii_case(SCHEME));
        let begin = scheme.map_or(0, str::len);
        let (whole, _fragment) = text.split_once('#').unwrap_or((text, ""));
        let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
        let id = path.get(begin..).unwrap_or_default().split('/').next().unwrap_or_default();
        let id = id.parse().map_err(|_| wrong(begin, "not an id"))?;
        let mut link = Self { id, name: None, via: Vec::new() };
        let mut at = path.len() + 1;
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value_at = at + key.len() + 1;
            at += pair.len() + 1;
            match key {
                "name" => {
                    let name = decoded(value).map_err(|(byte, why)| wrong(value_at + byte, why))?;
                    link.name = Some(Name::parse(&name).map_err(|_| wrong(value_at, "not a name"))?);
                }
                "via" => {
                    let seed = decoded(value).map_err(|(byte, why)| wrong(value_at + byte, why))?;
                    check_seed(&seed).map_err(|why| wrong(value_at, why))?;
                    if link.via.len() == VIA_MAX {
                        return Err(wrong(value_at, "more than 3 seeds"));
                    }
                    link.via.push(seed);
                }
                _ => {}
            }
        }
        Ok(link)
    }
}

/// The text names a seed: `seed.example:17118`, `192.0.2.1:17118` or `[2001:db8::1]:17118`. That the name
/// exists is not checked. The error says what is wrong with it.
pub fn check_seed(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("a HOST:PORT is needed, and the port is missing")?;
    if let Some(bracketed) = host.strip_prefix('[') {
        let v6 = bracketed.strip_suffix(']').ok_or("an IPv6 address stands in brackets, like [2001:db8::1]:17118")?;
        v6.parse::<Ipv6Addr>().map_err(|_| "not an IPv6 address")?;
    } else if host.contains(':') {
        return Err("an IPv6 address stands in brackets, like [2001:db8::1]:17118");
    } else {
        check_host(host)?;
    }
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if is_port { Ok(()) } else { Err("a port is a number from 1 to 65535") }
}

/// A host's name, or an IPv4 address.
fn check_host(host: &str) -> Result<(), &'static str> {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=LABEL_LEN_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if labels.len() > HOST_LEN_MAX || !labels.split('.').all(is_label) {
        return Err("not a host");
    }
    // What ends in a number would be read as an address in one of its older forms.
    let ends_in_number = labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if ends_in_number && host.parse::<Ipv4Addr>().is_err() { Err("not an IPv4 address") } else { Ok(()) }
}

/// RFC 3986 §2.1: everything but unreserved characters as `%` and two hex digits.
fn encoded(text: &str) -> String {
    let each = text.bytes().map(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    each.collect()
}

/// The opposite; the error says at which byte it is wrong.
fn decoded(text: &str) -> Result<String, (usize, &'static str)> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (plain, code) = rest.split_at(at);
        let wrong = (text.len() - code.len(), "two hex digits are needed behind a %");
        let digits = code.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit())).ok_or(wrong)?;
        bytes.extend(plain.bytes());
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong)?);
        rest = &code[3..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).map_err(|_| (0, "not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> PeerId {
        let mut base = [0x66; 32];
        base[0] = 0x58;
        PeerId::from_bytes(base).unwrap()
    }

    fn wrong(text: &str) -> String {
        text.parse::<ContactLink>().unwrap_err().to_string()
    }

    #[test]
    fn a_link_is_written_as_the_manual_prints_it() {
        let name = Name::parse("Ann Lee").ok();
        let seeds = ["seed.example:17118", "[2001:db8::1]:1", "b:2", "c:3"].map(str::to_owned);
        let link = ContactLink::new(id(), name, &seeds);
        let via = "via=seed.example%3A17118&via=%5B2001%3Adb8%3A%3A1%5D%3A1&via=b%3A2";
        assert_eq!(link.to_string(), format!("p2pchat:{}?name=Ann%20Lee&{via}", id()));
        assert_eq!(ContactLink::new(id(), None, &[]).to_string(), format!("p2pchat:{}", id()));
    }

    #[test]
    fn what_a_later_version_adds_is_skipped() {
        for text in [
            format!("{}", id()),
            format!("P2PCHAT:{}", id()),
            format!("p2pchat:{}?", id()),
            format!("p2pchat:{}/laptop?colour=%zz&&x#name=%zz", id()),
        ] {
            assert_eq!(text.parse(), Ok(ContactLink::new(id(), None, &[])), "{text}");
        }
        let by_hand = format!("p2pchat:{}?via=b:2&name=Ann%20Lee", id()).parse::<ContactLink>().unwrap();
        assert_eq!((by_hand.name.unwrap().as_str(), by_hand.via), ("Ann Lee", vec!["b:2".to_owned()]));
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        let id = id();
        assert_eq!(wrong("p2pchat:abc"), "at 9: not an id");
        assert_eq!(wrong("bob"), "at 1: not an id");
        assert_eq!(wrong(""), "at 1: not an id");
        assert_eq!(wrong(&format!("p2pchat:{id}?name=")), "at 67: not a name");
        assert_eq!(wrong(&format!("p2pchat:{id}?name=%23room")), "at 67: not a name");
        assert_eq!(wrong(&format!("p2pchat:{id}?é=1&name=ab%2")), "at 73: two hex digits are needed behind a %");
        assert_eq!(wrong(&format!("p2pchat:{id}?name=%ff")), "at 67: not UTF-8");
        assert_eq!(wrong(&format!("p2pchat:{id}?via=a:1&via=b")), "at 74: a HOST:PORT is needed, and the port is missing");
        assert_eq!(wrong(&format!("p2pchat:{id}?via=a:1&via=b:1&via=c:1&via=d:1")), "at 90: more than 3 seeds");
        assert_eq!(wrong(&"x".repeat(LINK_LEN_MAX + 1)), "at 1: longer than a link can be");
    }

    #[test]
    fn a_seed_is_a_host_and_a_port() {
        for good in ["seed.example:17118", "seed.example.:1", "localhost:65535", "a_b-c:1", "192.0.2.1:17118", "[::1]:1"] {
            assert_eq!(check_seed(good), Ok(()), "{good}");
        }
        let long = format!("{}:1", ["a"; 128].join("."));
        for bad in [
            "",
            "seed.example",
            ":1",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a: 1",
            "a b:1",
            "-a:1",
            "a..b:1",
            "ä.example:1",
            "2001:db8::1",
            "[2001:db8::1]",
            "[::1:1",
            "[a]:1",
            "[fe80::1%lo]:1",
            "1.2.3:1",
            "300.0.0.1:1",
            "a/b:1",
            "p2pchat:1:1",
            &long,
        ] {
            assert!(check_seed(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(name in "\\PC{0,20}", hosts in prop::collection::vec("[a-z][a-z0-9]{0,9}(\\.[a-z]{2,9}){0,2}", 0..=VIA_MAX), port: u16) {
            let seeds: Vec<String> = hosts.iter().map(|host| format!("{host}:{}", port.max(1))).collect();
            let link = ContactLink::new(id(), Name::parse(&name).ok(), &seeds);
            let text = link.to_string();
            prop_assert!(text.len() <= LINK_LEN_MAX && !text.contains(char::is_whitespace));
            prop_assert_eq!(text.parse::<ContactLink>(), Ok(link));
        }

        #[test]
        fn any_text_is_a_link_or_an_error_within_it(tail in "(?s).{0,80}") {
            for text in [tail.clone(), format!("p2pchat:{}{tail}", id()), format!("p2pchat:{}?name={tail}&via={tail}", id())] {
                if let Err(error) = text.parse::<ContactLink>() {
                    prop_assert!(error.at <= text.chars().count() + 1);
                }
            }
        }
    }
}
