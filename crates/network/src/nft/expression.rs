//! What the keys of a map are, in the words of nft's own user data: listings name the expressions that they are made of
//! where types alone would not do (a number by chance has none of its own).
//!
//! Each is a row of type, length and value: `0` the kind of expression, `1` what it is of; parts of a concatenation are
//! numbered. The numbers are those of nft's sources, which keep them.

/// An expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expression {
    /// `meta l4proto`.
    Protocol,
    /// `ip daddr`, `ip6 daddr`.
    Destination(bool),
    /// `th dport`.
    Port,
    /// `tcp dport`: a port as data, of whichever protocol. nft reads no `th` there.
    TcpPort,
    /// `numgen random mod` of so many.
    Random(u32),
}

const KIND: u8 = 0;
const OF: u8 = 1;
const CONCATENATION: u32 = 13;

impl Expression {
    fn write(self) -> Vec<u8> {
        const PAYLOAD: u32 = 7;
        const META: u32 = 9;
        const NUMGEN: u32 = 23;
        let (kind, of): (u32, &[u32]) = match self {
            Self::Protocol => (META, &[16]),
            Self::Destination(true) => (PAYLOAD, &[12, 12]),
            Self::Destination(false) => (PAYLOAD, &[13, 9]),
            Self::Port => (PAYLOAD, &[11, 2]),
            Self::TcpPort => (PAYLOAD, &[8, 2]),
            Self::Random(below) => (NUMGEN, &[1, below, 0]),
        };
        let numbers = of.iter().zip(0u8..).flat_map(|(number, at)| row(at, &number.to_ne_bytes()));
        pair(kind, &numbers.collect::<Vec<u8>>())
    }
}

/// One expression, or several in a row.
pub fn written(expressions: &[Expression]) -> Vec<u8> {
    match expressions {
        [one] => one.write(),
        many => {
            let parts = many.iter().zip(0u8..).flat_map(|(one, at)| row(at, &one.write()));
            pair(CONCATENATION, &parts.collect::<Vec<u8>>())
        }
    }
}

fn pair(kind: u32, of: &[u8]) -> Vec<u8> {
    [row(KIND, &kind.to_ne_bytes()), row(OF, of)].concat()
}

/// A row of user data.
pub fn row(kind: u8, value: &[u8]) -> Vec<u8> {
    // None is as long as a byte can count.
    let len = u8::try_from(value.len()).unwrap_or(u8::MAX);
    [&[kind, len], value].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn it_is_what_nft_writes() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = [Expression::Destination(true), Expression::Random(120)];
        assert_eq!(
            hex(written(&key)),
            "00040d00000001320014000407000000010c00040c00000001040c000000011a00041700000001120004010000000104780000\
             00020400000000"
        );
        assert_eq!(hex(written(&key[..1])), "000407000000010c00040c00000001040c000000");
    }
}
