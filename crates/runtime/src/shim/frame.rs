//! Frames on attach and exec streams: Docker's multiplexed stdio header before every piece of data.
//!
//! ```text
//! byte 0     stream: 0 stdin, 1 stdout, 2 stderr, 3 control (JSON, the last frame: {"exit":N})
//! byte 1..4  zero
//! byte 4..8  length of the payload, big endian
//! ```
//!
//! stdin goes from the engine to the shim, an empty stdin frame is the end of it; the rest comes back. With a
//! terminal all output is stdout.

/// Bytes before the payload.
pub const FRAME_HEADER: usize = 8;

/// Largest payload the shim accepts or sends.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// To the program; empty is end of file.
    Stdin,
    /// From the program.
    Stdout,
    /// From the program.
    Stderr,
    /// JSON from the shim.
    Control,
}

impl StreamKind {
    /// The kind a first header byte stands for.
    pub fn from_byte(byte: u8) -> Option<StreamKind> {
        match byte {
            0 => Some(StreamKind::Stdin),
            1 => Some(StreamKind::Stdout),
            2 => Some(StreamKind::Stderr),
            3 => Some(StreamKind::Control),
            _ => None,
        }
    }

    /// The first header byte.
    pub fn byte(self) -> u8 {
        match self {
            StreamKind::Stdin => 0,
            StreamKind::Stdout => 1,
            StreamKind::Stderr => 2,
            StreamKind::Control => 3,
        }
    }
}

/// Header of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Stream.
    pub stream: StreamKind,
    /// Length of the payload.
    pub len: usize,
}

impl Frame {
    /// Header bytes.
    pub fn encode(self) -> [u8; FRAME_HEADER] {
        let len = u32::try_from(self.len).unwrap_or(u32::MAX).to_be_bytes();
        [self.stream.byte(), 0, 0, 0, len[0], len[1], len[2], len[3]]
    }

    /// Reads header bytes; `None` if they are no header of ours.
    pub fn decode(header: [u8; FRAME_HEADER]) -> Option<Frame> {
        let stream = StreamKind::from_byte(header[0])?;
        let len = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        (header[1..4] == [0, 0, 0] && len <= MAX_PAYLOAD).then_some(Frame { stream, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_dockers() {
        let frame = Frame { stream: StreamKind::Stderr, len: 258 };
        assert_eq!(frame.encode(), [2, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(Frame::decode(frame.encode()), Some(frame));
        assert_eq!(Frame::decode([9, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Frame::decode([1, 0, 0, 0, 255, 0, 0, 0]), None);
    }
}
