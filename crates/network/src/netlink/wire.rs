//! Netlink messages and attributes: written into one buffer, read out of a kernel's answer.
//!
//! ```text
//! message  = length u32 · type u16 · flags u16 · sequence u32 · port u32 · family header · attributes
//! attribute = length u16 · type u16 · payload, padded to 4 bytes     (lengths include their header)
//! ```
//! Reading trusts no length: what does not fit ends the walk.

/// `NLMSG_ERROR`: an error, or an acknowledgement if its number is 0.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const DONE: u16 = 3;
/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 1;
/// `NLM_F_ACK`.
pub const ACK: u16 = 4;
/// `NLM_F_DUMP`.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// A buffer of messages to be sent at once.
#[derive(Debug, Default)]
pub struct Messages {
    buffer: Vec<u8>,
    start: usize,
    count: u32,
}

impl Messages {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a message with its family header. The sequence number is its place in the buffer; the socket adds
    /// its own base when it sends.
    pub fn begin(&mut self, kind: u16, flags: u16, header: &[u8]) {
        self.finish();
        self.start = self.buffer.len();
        self.count += 1;
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.buffer.extend_from_slice(&(self.count - 1).to_ne_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(header);
        self.pad();
    }

    /// Adds an attribute to the message that was begun last.
    pub fn attr(&mut self, kind: u16, payload: &[u8]) {
        let len = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.buffer.extend_from_slice(&len.to_ne_bytes());
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        self.buffer.extend_from_slice(&payload[..usize::from(len) - 4]);
        self.pad();
    }

    /// An attribute of a number in host order (rtnetlink).
    pub fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// An attribute of a number in network order (nftables).
    pub fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// An attribute of a string that ends with a zero byte.
    pub fn attr_str(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// An attribute that holds others.
    pub fn nest(&mut self, kind: u16, content: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0, 0]);
        self.buffer.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        content(self);
        let len = u16::try_from(self.buffer.len() - start).unwrap_or(u16::MAX);
        self.buffer[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// Bytes as they are: a family header inside an attribute, attributes that were written elsewhere.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        self.pad();
    }

    /// How many messages there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bytes from an offset on: what was written since.
    pub fn since(&self, offset: usize) -> &[u8] {
        &self.buffer[offset..]
    }

    /// Closes the last message and numbers all of them from `base` on.
    pub(super) fn seal(&mut self, base: u32) -> &[u8] {
        self.finish();
        let mut at = 0;
        while let Some(len) = read_u32(&self.buffer, at) {
            if let Some(sequence) = read_u32(&self.buffer, at + 8) {
                let numbered = sequence.wrapping_add(base);
                self.buffer[at + 8..at + 12].copy_from_slice(&numbered.to_ne_bytes());
            }
            at += (len as usize).max(HEADER);
        }
        &self.buffer
    }

    fn finish(&mut self) {
        if self.count > 0 {
            let len = u32::try_from(self.buffer.len() - self.start).unwrap_or(u32::MAX);
            self.buffer[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
        }
    }

    fn pad(&mut self) {
        let padded = self.buffer.len().next_multiple_of(4);
        self.buffer.resize(padded, 0);
    }
}

/// A message of the kernel's answer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// The sequence number of the request it answers.
    pub sequence: u32,
    /// The port of the socket that asked for it; of a notification, of the one that made the change.
    pub port: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The error number of an `NLMSG_ERROR`, positive; 0 is an acknowledgement.
    pub fn errno(&self) -> Option<i32> {
        (self.kind == ERROR)
            .then(|| read_u32(self.body, 0).map_or(libc::EBADMSG, |n| n.cast_signed().saturating_neg()))
    }

    /// The attributes behind a family header of this size.
    pub fn attrs(&self, header: usize) -> Attrs<'a> {
        Attrs { rest: self.body.get(header..).unwrap_or_default() }
    }
}

/// Walks over the messages of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    rest: &'a [u8],
}

/// The messages in a buffer that was received.
pub fn messages(buffer: &[u8]) -> Answer<'_> {
    Answer { rest: buffer }
}

impl<'a> Iterator for Answer<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let len = read_u32(self.rest, 0)? as usize;
        let kind = read_u16(self.rest, 4)?;
        let sequence = read_u32(self.rest, 8)?;
        let port = read_u32(self.rest, 12)?;
        let body = self.rest.get(HEADER..len)?;
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, port, body })
    }
}

/// Walks over attributes: type and payload.
#[derive(Clone, Copy, Debug)]
pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Attrs<'a> {
    /// The attributes in a payload.
    pub fn of(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The payload of the first attribute of a type.
    pub fn find(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find_map(|(found, payload)| (found == kind).then_some(payload))
    }

    /// The attributes inside of an attribute.
    pub fn nested(self, kind: u16) -> Attrs<'a> {
        Attrs::of(self.find(kind).unwrap_or_default())
    }

    /// A number in host order.
    pub fn u32(self, kind: u16) -> Option<u32> {
        read_u32(self.find(kind)?, 0)
    }

    /// A number in network order.
    pub fn be32(self, kind: u16) -> Option<u32> {
        self.u32(kind).map(u32::from_be)
    }

    /// A 64-bit number in network order.
    pub fn be64(self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.find(kind)?.get(..8)?.try_into().ok()?))
    }

    /// A string, without its closing zero byte.
    pub fn str(self, kind: u16) -> Option<&'a str> {
        let bytes = self.find(kind)?;
        std::str::from_utf8(bytes.split(|b| *b == 0).next()?).ok()
    }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let len = usize::from(read_u16(self.rest, 0)?);
        let kind = read_u16(self.rest, 2)? & TYPE_MASK;
        let payload = self.rest.get(4..len)?;
        self.rest = self.rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// A number in host order at an offset.
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A number in host order at an offset.
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Messages::new();
        out.begin(16, ACK, &[7; 8]);
        out.attr_str(3, "eth0");
        out.nest(18, |m| m.attr_u32(1, 42));
        out.begin(17, 0, &[]);
        let bytes = out.seal(100).to_vec();
        let found: Vec<_> = messages(&bytes).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].sequence), (16, 100));
        assert_eq!(found[0].attrs(8).str(3), Some("eth0"));
        assert_eq!(found[0].attrs(8).nested(18).u32(1), Some(42));
        assert_eq!((found[1].kind, found[1].sequence), (17, 101));
    }

    #[test]
    fn attributes_that_overrun_end_the_walk() {
        let mut bytes = vec![8, 0, 1, 0, 1, 2, 3, 4];
        bytes.extend_from_slice(&[200, 0, 2, 0, 9]);
        assert_eq!(Attrs::of(&bytes).count(), 1);
        assert_eq!(Attrs::of(&[0, 0, 0, 0, 0]).count(), 0, "a length below the header");
    }

    proptest! {
        #[test]
        fn hostile_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut total = 0;
            for message in messages(&bytes) {
                total += HEADER + message.body.len();
                let _ = message.errno();
                for (_, payload) in message.attrs(4) {
                    total += Attrs::of(payload).count();
                }
            }
            prop_assert!(total <= 2 * bytes.len());
        }
    }
}
