//! DNS messages (RFC 1035): as much of them as a stub resolver needs.
//!
//! Queries are read with suspicion (one question, no compression in it, nothing that leads out of the packet);
//! answers of upstreams are passed on as they are and only looked at to see that they answer what was asked.

use std::net::IpAddr;

/// `A`.
pub const A: u16 = 1;
/// `PTR`.
pub const PTR: u16 = 12;
/// `AAAA`.
pub const AAAA: u16 = 28;
/// `OPT` of EDNS (RFC 6891).
const OPT: u16 = 41;
const IN: u16 = 1;
const HEADER: usize = 12;
/// What fits into a UDP answer to a client that does not say what it can take.
const CLASSIC: usize = 512;
/// No UDP answer is larger, whatever the client says.
const LARGEST: usize = 4096;

const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const OPCODE: u16 = 0x7800;

/// A response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rcode {
    /// No error.
    NoError = 0,
    /// The query makes no sense.
    FormErr = 1,
    /// No upstream answered.
    ServFail = 2,
    /// There is no such name.
    NxDomain = 3,
    /// A kind of query that is not served.
    NotImp = 4,
    /// Too much to do.
    Refused = 5,
}

/// A query's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The message's id.
    pub id: u16,
    /// The name in lower case, without the closing dot.
    pub name: String,
    /// The type that is asked for.
    pub kind: u16,
    /// Whether it is asked of the Internet class.
    pub internet: bool,
    /// How large an answer over UDP may be.
    pub max_udp: usize,
    flags: u16,
    edns: bool,
    /// The question as it stands in the message.
    raw: Vec<u8>,
}

/// Why a message is no question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is to be ignored: too short, or an answer.
    Ignore,
    /// It is to be answered with an error.
    Answer(u16, Rcode),
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads a query.
pub fn parse(message: &[u8]) -> Result<Question, Malformed> {
    let (Some(id), Some(flags), Some(questions)) =
        (u16_at(message, 0), u16_at(message, 2), u16_at(message, 4))
    else {
        return Err(Malformed::Ignore);
    };
    if message.len() < HEADER || flags & RESPONSE != 0 {
        return Err(Malformed::Ignore);
    }
    if flags & OPCODE != 0 {
        return Err(Malformed::Answer(id, Rcode::NotImp));
    }
    let bad = Malformed::Answer(id, Rcode::FormErr);
    if questions != 1 {
        return Err(bad);
    }
    let (name, after) = read_name(message, HEADER).ok_or(bad)?;
    let kind = u16_at(message, after).ok_or(bad)?;
    let class = u16_at(message, after + 2).ok_or(bad)?;
    let raw = message[HEADER..after + 4].to_vec();
    let udp_size = edns_size(message, after + 4);
    Ok(Question {
        id,
        name,
        kind,
        internet: class == IN,
        max_udp: udp_size.map_or(CLASSIC, |s| usize::from(s).clamp(CLASSIC, LARGEST)),
        flags,
        edns: udp_size.is_some(),
        raw,
    })
}

/// Reads a name without compression: its text, and where it ends.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let start = at;
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1;
        if len == 0 {
            return Some((name, at));
        }
        if len > 63 || at + len - start > 255 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in message.get(at..at + len)? {
            // A dot within a label must not read as two labels, nor may anything else deceive.
            match byte {
                b'!'..=b'~' if *byte != b'.' => name.push(byte.to_ascii_lowercase().into()),
                other => name.push_str(&format!("\\{other:03}")),
            }
        }
        at += len;
    }
}

/// The UDP size that an EDNS record behind the question offers.
fn edns_size(message: &[u8], mut at: usize) -> Option<u16> {
    let (answers, authorities) = (u16_at(message, 6)?, u16_at(message, 8)?);
    if answers != 0 || authorities != 0 {
        return None;
    }
    for _ in 0..u16_at(message, 10)?.min(4) {
        let root = *message.get(at)? == 0;
        let after = if root { at + 1 } else { read_name(message, at)?.1 };
        if root && u16_at(message, after)? == OPT {
            return u16_at(message, after + 2);
        }
        at = after + 10 + usize::from(u16_at(message, after + 8)?);
    }
    None
}

impl Question {
    fn header(&self, flags: u16, rcode: Rcode, answers: u16) -> Vec<u8> {
        let flags = RESPONSE
            | RECURSION_AVAILABLE
            | (self.flags & RECURSION_DESIRED)
            | flags
            | u16::from(rcode as u8);
        let mut out = Vec::with_capacity(CLASSIC);
        for number in [self.id, flags, 1, answers, 0, u16::from(self.edns)] {
            out.extend(number.to_be_bytes());
        }
        out.extend(&self.raw);
        out
    }

    fn close(&self, mut out: Vec<u8>) -> Vec<u8> {
        if self.edns {
            out.push(0);
            out.extend(OPT.to_be_bytes());
            out.extend((LARGEST as u16).to_be_bytes());
            out.extend([0; 6]);
        }
        out
    }

    /// An answer without records.
    pub fn empty(&self, rcode: Rcode) -> Vec<u8> {
        self.close(self.header(0, rcode, 0))
    }

    /// An answer that says no more than that it does not fit.
    pub fn cut(&self) -> Vec<u8> {
        self.close(self.header(TRUNCATED, Rcode::NoError, 0))
    }

    /// An answer of addresses; cut to `limit` bytes and marked so if they do not fit.
    pub fn addresses(&self, addresses: &[IpAddr], ttl: u32, limit: usize) -> Vec<u8> {
        let records = addresses.iter().map(|addr| match addr {
            IpAddr::V4(v4) => (A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (AAAA, v6.octets().to_vec()),
        });
        self.records(&records.collect::<Vec<_>>(), ttl, limit)
    }

    /// An answer of one name.
    pub fn pointer(&self, name: &str, ttl: u32, limit: usize) -> Vec<u8> {
        match write_name(name) {
            Some(target) => self.records(&[(PTR, target)], ttl, limit),
            None => self.empty(Rcode::ServFail),
        }
    }

    fn records(&self, records: &[(u16, Vec<u8>)], ttl: u32, limit: usize) -> Vec<u8> {
        let closing = if self.edns { 11 } else { 0 };
        let mut size = HEADER + self.raw.len() + closing;
        let mut fitting = 0u16;
        for (_, data) in records {
            size += 12 + data.len();
            if size > limit {
                break;
            }
            fitting += 1;
        }
        let cut = usize::from(fitting) < records.len();
        let flags = AUTHORITATIVE | if cut { TRUNCATED } else { 0 };
        let mut out = self.header(flags, Rcode::NoError, fitting);
        for (kind, data) in &records[..usize::from(fitting)] {
            // The owner is the question's name, by reference to its place.
            out.extend([0xc0, HEADER as u8]);
            out.extend(kind.to_be_bytes());
            out.extend(IN.to_be_bytes());
            out.extend(ttl.to_be_bytes());
            out.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
            out.extend(data);
        }
        self.close(out)
    }
}

/// An error as answer to what could not be read.
pub fn error(id: u16, rcode: Rcode) -> Vec<u8> {
    let flags = RESPONSE | RECURSION_AVAILABLE | u16::from(rcode as u8);
    [id, flags, 0, 0, 0, 0].iter().flat_map(|n| n.to_be_bytes()).collect()
}

fn write_name(name: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|l| !l.is_empty()) {
        out.push(u8::try_from(label.len()).ok().filter(|l| *l < 64)?);
        out.extend(label.as_bytes());
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

/// A query with another id, for an upstream: so that a guessed answer does not fit.
pub fn with_id(message: &[u8], id: u16) -> Vec<u8> {
    let mut out = message.to_vec();
    if let Some(slot) = out.get_mut(..2) {
        slot.copy_from_slice(&id.to_be_bytes());
    }
    out
}

/// Whether a message is an answer to this question, sent under this id.
pub fn answers(message: &[u8], id: u16, question: &Question) -> bool {
    let flags = u16_at(message, 2).unwrap_or(0);
    if u16_at(message, 0) != Some(id) || flags & RESPONSE == 0 {
        return false;
    }
    match u16_at(message, 4) {
        // Some servers leave the question out of an error.
        Some(0) => flags & 0xf != 0,
        Some(1) => {
            let Some((name, after)) = read_name(message, HEADER) else { return false };
            name == question.name && u16_at(message, after) == Some(question.kind)
        }
        _ => false,
    }
}

/// An answer's response code.
pub fn rcode(message: &[u8]) -> u8 {
    message.get(3).map_or(2, |b| b & 0xf)
}

/// The address that a reverse name (`2.0.17.172.in-addr.arpa`) stands for.
pub fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> = labels.split('.').rev().map(|l| l.parse().ok()).collect::<Option<_>>()?;
        return <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let nibbles: Vec<u8> = labels
        .split('.')
        .rev()
        .map(|l| u8::from_str_radix(l, 16).ok().filter(|n| l.len() == 1 && *n < 16))
        .collect::<Option<_>>()?;
    let nibbles = <[u8; 32]>::try_from(nibbles).ok()?;
    let mut octets = [0; 16];
    for (i, octet) in octets.iter_mut().enumerate() {
        *octet = nibbles[2 * i] << 4 | nibbles[2 * i + 1];
    }
    Some(IpAddr::from(octets))
}

/// Writes a query, as clients do: for tests.
#[cfg(test)]
pub fn query(id: u16, name: &str, kind: u16, edns: Option<u16>) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [id, RECURSION_DESIRED, 1, 0, 0, u16::from(edns.is_some())] {
        out.extend(number.to_be_bytes());
    }
    out.extend(write_name(name).expect("a name"));
    out.extend(kind.to_be_bytes());
    out.extend(IN.to_be_bytes());
    if let Some(size) = edns {
        out.push(0);
        out.extend(OPT.to_be_bytes());
        out.extend(size.to_be_bytes());
        out.extend([0; 6]);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_query_and_its_edns() {
        let plain = parse(&query(7, "Web.Example", A, None)).expect("query");
        assert_eq!((plain.id, plain.name.as_str(), plain.max_udp), (7, "web.example", 512));
        let large = parse(&query(7, "web", AAAA, Some(1232))).expect("query");
        assert_eq!((large.kind, large.max_udp), (AAAA, 1232));
        assert_eq!(parse(&query(7, "web", A, Some(1))).expect("query").max_udp, 512);
        assert_eq!(parse(&query(7, "web", A, Some(65535))).expect("query").max_udp, LARGEST);
    }

    #[test]
    fn hostile_queries_are_refused() {
        assert_eq!(parse(&[]), Err(Malformed::Ignore));
        assert_eq!(parse(&[0; 11]), Err(Malformed::Ignore));
        let mut response = query(1, "a", A, None);
        response[2] |= 0x80;
        assert_eq!(parse(&response), Err(Malformed::Ignore));
        let mut compressed = query(9, "a", A, None);
        compressed[12] = 0xc0;
        assert_eq!(parse(&compressed), Err(Malformed::Answer(9, Rcode::FormErr)));
        let mut two = query(9, "a", A, None);
        two[5] = 2;
        assert_eq!(parse(&two), Err(Malformed::Answer(9, Rcode::FormErr)));
        let mut dotted = query(9, "aXb", A, None);
        dotted[14] = b'.';
        assert_eq!(parse(&dotted).expect("query").name, "a\\046b");
    }

    #[test]
    fn answers_that_do_not_fit_are_cut() {
        let question = parse(&query(1, "web", A, None)).expect("query");
        let many: Vec<IpAddr> = (0..100).map(|i| IpAddr::from([10, 0, 0, i])).collect();
        let cut = question.addresses(&many, 60, 512);
        assert!(cut.len() <= 512 && cut[2] & 0x02 != 0, "TC is set");
        let whole = question.addresses(&many, 60, 65535);
        assert_eq!((u16_at(&whole, 6), whole[2] & 0x02), (Some(100), 0));
    }

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let question = parse(&query(1, "web", A, None)).expect("query");
        let mut good = question.addresses(&[IpAddr::from([10, 0, 0, 1])], 60, 512);
        assert!(answers(&good, 1, &question));
        assert!(!answers(&good, 2, &question));
        good[13] = b'x';
        assert!(!answers(&good, 1, &question), "another name");
        assert!(!answers(&query(1, "web", A, None), 1, &question), "a query");
    }

    #[test]
    fn reverse_names() {
        assert_eq!(reverse("2.0.17.172.in-addr.arpa"), Some(IpAddr::from([172, 17, 0, 2])));
        assert_eq!(reverse("0.17.172.in-addr.arpa"), None);
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(reverse(v6), Some("fd00::1".parse().expect("address")));
        assert_eq!(reverse("example.org"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            if let Ok(question) = parse(&bytes) {
                prop_assert!(question.max_udp >= CLASSIC && question.max_udp <= LARGEST);
                let reply = question.addresses(&[IpAddr::from([10, 0, 0, 1])], 1, question.max_udp);
                prop_assert!(answers(&reply, question.id, &question));
                let _ = reverse(&question.name);
            }
        }

        #[test]
        fn damaged_queries_are_read_or_refused(flips in prop::collection::vec((0usize..60, any::<u8>()), 1..6)) {
            let mut bytes = query(3, "some.host.name.example", A, Some(1232));
            for (at, value) in flips {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = value;
                }
            }
            let _ = parse(&bytes);
            let question = parse(&query(3, "web", A, None)).expect("query");
            let _ = answers(&bytes, 3, &question);
        }
    }
}
