//! The log of a build as BuildKit keeps it: what its client was told, message by message.
//!
//! ```text
//! message*    length: 4 bytes, little-endian; a StatusResponse
//! ```

use prost::Message;

use crate::proto::control::StatusResponse;

/// A message as it stands in a log; nothing for one that says nothing.
#[must_use]
pub fn framed(message: &StatusResponse) -> Vec<u8> {
    let length = message.encoded_len();
    if length == 0 {
        return Vec::new();
    }
    let mut bytes = Vec::with_capacity(length + 4);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes
}

/// Takes the next message off the bytes of a log; none if it is not there completely.
pub fn next_message(bytes: &mut &[u8]) -> Option<StatusResponse> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let message = rest.get(..length)?;
    *bytes = &rest[length..];
    // A damaged one says nothing, and those behind it are found all the same.
    Some(StatusResponse::decode(message).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::control::Vertex;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let named = |name: &str| StatusResponse {
            vertexes: vec![Vertex { name: name.into(), ..Vertex::default() }],
            ..StatusResponse::default()
        };
        let bytes = [framed(&named("a")), framed(&StatusResponse::default()), framed(&named("b"))].concat();
        let mut rest = bytes.as_slice();
        assert_eq!(next_message(&mut rest), Some(named("a")));
        assert_eq!(next_message(&mut rest), Some(named("b")));
        assert_eq!(next_message(&mut rest), None);
        let mut half = &bytes[..bytes.len() - 1];
        assert_eq!(next_message(&mut half), Some(named("a")));
        assert_eq!((next_message(&mut half), half.len()), (None, framed(&named("b")).len() - 1));
        let mut damaged: &[u8] = &[2, 0, 0, 0, 0xff, 0xff];
        assert_eq!(next_message(&mut damaged), Some(StatusResponse::default()));
    }
}
