//! Keys that leave a container running: `ctrl-p,ctrl-q` unless set otherwise.

/// Docker's own.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A sequence of bytes that detaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What a scan of input found.
#[derive(Debug, PartialEq, Eq)]
pub struct Scan {
    /// What goes to the program.
    pub pass: Vec<u8>,
    /// Whether the sequence is complete.
    pub detach: bool,
}

impl DetachKeys {
    /// Reads `ctrl-a,b`; an empty text is the default.
    ///
    /// # Errors
    /// A key that is not known.
    pub fn parse(text: &str) -> Result<DetachKeys, String> {
        let text = if text.is_empty() { DEFAULT } else { text };
        let keys = text.split(',').map(key).collect::<Result<_, _>>()?;
        Ok(DetachKeys { keys, matched: 0 })
    }

    /// Looks for the sequence in what was typed; holds back a part that may be its beginning.
    pub fn scan(&mut self, typed: &[u8]) -> Scan {
        let mut pass = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return Scan { pass, detach: true };
                }
                continue;
            }
            pass.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(byte == self.keys[0]);
            if self.matched == 0 {
                pass.push(byte);
            } else if self.keys.len() == 1 {
                self.matched = 0;
                return Scan { pass, detach: true };
            }
        }
        Scan { pass, detach: false }
    }
}

fn key(name: &str) -> Result<u8, String> {
    let unknown = || format!("Unknown character: '{name}'");
    if let [one] = name.as_bytes() {
        return Ok(*one);
    }
    match name.to_lowercase().strip_prefix("ctrl-").map(str::as_bytes) {
        Some([c @ b'a'..=b'z']) => Ok(c - b'a' + 1),
        Some([b'@']) => Ok(0),
        Some([b'[']) => Ok(27),
        Some([b'\\']) => Ok(28),
        Some([b']']) => Ok(29),
        Some([b'^']) => Ok(30),
        Some([b'_']) => Ok(31),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_may_come_in_pieces() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.scan(b"ab\x10"), Scan { pass: b"ab".to_vec(), detach: false });
        assert_eq!(keys.scan(b"x"), Scan { pass: b"\x10x".to_vec(), detach: false });
        assert_eq!(keys.scan(b"\x10\x11"), Scan { pass: Vec::new(), detach: true });
    }

    #[test]
    fn own_keys() {
        let mut keys = DetachKeys::parse("ctrl-x,q").unwrap();
        assert!(keys.scan(b"\x18q").detach);
        assert!(DetachKeys::parse("ctrl-1").is_err());
    }
}
