//! What to do with a query: a pure function of the query and of what names are known.

use std::net::IpAddr;

use super::message::{self, A, AAAA, Malformed, PTR, Question, Rcode};

/// How long answers may be kept, in seconds: as long as Docker's.
const TTL: u32 = 600;

/// What a container may know of names.
pub trait Lookup {
    /// The addresses of a name on the container's networks; `None` if nobody has it.
    fn addresses(&self, name: &str) -> Option<Vec<IpAddr>>;
    /// The name of an address on the container's networks.
    fn name_of(&self, addr: IpAddr) -> Option<String>;
    /// Whether a name that the container does not know is nobody else's business either: another container's, or one
    /// that is asked for with its search domains later.
    fn is_private(&self, name: &str) -> bool;
    /// Whether an address without a name is a container's or may become one.
    fn is_ours(&self, addr: IpAddr) -> bool;
}

/// What to do with a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this.
    Reply(Vec<u8>),
    /// Ask an upstream.
    Forward(Question),
    /// It is no query.
    Ignore,
}

/// Decides about a query that came over UDP or TCP.
///
/// A known name is known for all types: what it does not have is answered with no records, never asked elsewhere. Nor
/// is what only this daemon can know: names of containers that do not run, addresses of its subnets.
pub fn handle(query: &[u8], udp: bool, names: &impl Lookup) -> Action {
    let question = match message::parse(query) {
        Ok(question) => question,
        Err(Malformed::Ignore) => return Action::Ignore,
        Err(Malformed::Answer(id, rcode)) => return Action::Reply(message::error(id, rcode)),
    };
    let limit = if udp { question.max_udp } else { usize::from(u16::MAX) };
    if !question.internet {
        // Of another class there are no such names, but they are ours nonetheless.
        let known = names.addresses(&question.name).is_some() || names.is_private(&question.name);
        return if known {
            Action::Reply(question.empty(Rcode::NxDomain))
        } else {
            Action::Forward(question)
        };
    }
    if let Some(addr) = message::reverse(&question.name) {
        return match names.name_of(addr) {
            Some(name) if question.kind == PTR => Action::Reply(question.pointer(&name, TTL, limit)),
            Some(_) => Action::Reply(question.empty(Rcode::NoError)),
            None if names.is_ours(addr) => Action::Reply(question.empty(Rcode::NxDomain)),
            None => Action::Forward(question),
        };
    }
    let Some(addresses) = names.addresses(&question.name) else {
        return match names.is_private(&question.name) {
            true => Action::Reply(question.empty(Rcode::NxDomain)),
            false => Action::Forward(question),
        };
    };
    let fitting: Vec<IpAddr> = addresses
        .into_iter()
        .filter(|a| matches!((question.kind, a), (A, IpAddr::V4(_)) | (AAAA, IpAddr::V6(_))))
        .collect();
    Action::Reply(if fitting.is_empty() {
        question.empty(Rcode::NoError)
    } else {
        question.addresses(&fitting, TTL, limit)
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::query;
    use super::*;

    struct One;

    impl Lookup for One {
        fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
            (name == "db").then(|| vec![IpAddr::from([172, 18, 0, 2])])
        }

        fn name_of(&self, addr: IpAddr) -> Option<String> {
            (addr == IpAddr::from([172, 18, 0, 2])).then(|| "db.mynet".to_owned())
        }

        fn is_private(&self, name: &str) -> bool {
            name == "stopped"
        }

        fn is_ours(&self, addr: IpAddr) -> bool {
            matches!(addr, IpAddr::V4(v4) if v4.octets()[..2] == [172, 18])
        }
    }

    #[test]
    fn what_only_we_can_know_is_asked_nowhere() {
        let address = "9.0.18.172.in-addr.arpa";
        for (name, kind) in
            [("Stopped", A), ("stopped", 15), ("stopped", PTR), (address, PTR), (address, 255)]
        {
            assert_eq!(reply(&query(5, name, kind, None))[3] & 0xf, 3, "{name}: no such name");
        }
        for name in ["db", "stopped"] {
            let mut chaos = query(5, name, A, None);
            let class = chaos.len() - 1;
            chaos[class] = 3;
            assert_eq!(reply(&chaos)[3] & 0xf, 3, "{name}: not in another class");
        }
    }

    fn reply(query: &[u8]) -> Vec<u8> {
        match handle(query, true, &One) {
            Action::Reply(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn known_names_are_answered_in_any_case() {
        let bytes = reply(&query(5, "DB", A, None));
        assert_eq!(bytes[3] & 0xf, 0);
        assert!(bytes.ends_with(&[172, 18, 0, 2]));
    }

    #[test]
    fn known_names_without_the_type_have_no_data() {
        for kind in [AAAA, PTR, 15, 16, 65] {
            let bytes = reply(&query(5, "db", kind, None));
            assert_eq!((bytes[3] & 0xf, bytes[7]), (0, 0), "type {kind}");
        }
        let bytes = reply(&query(5, "2.0.18.172.in-addr.arpa", 16, None));
        assert_eq!((bytes[3] & 0xf, bytes[7]), (0, 0), "an address");
    }

    #[test]
    fn unknown_names_are_asked_elsewhere() {
        assert!(matches!(handle(&query(5, "example.org", A, None), true, &One), Action::Forward(_)));
        assert!(matches!(
            handle(&query(5, "9.9.9.9.in-addr.arpa", PTR, None), true, &One),
            Action::Forward(_)
        ));
    }

    #[test]
    fn addresses_have_names() {
        let bytes = reply(&query(5, "2.0.18.172.in-addr.arpa", PTR, None));
        assert!(bytes.ends_with(b"\x02db\x05mynet\0"));
    }
}
