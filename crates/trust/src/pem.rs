//! PEM blocks (RFC 7468), as far as keys need them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The first block of a text: its label and its bytes.
pub(crate) fn read(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let joined: String = body.split_ascii_whitespace().collect();
    Some((label, STANDARD.decode(joined).ok()?))
}

/// A block of these bytes.
pub(crate) fn write(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes: Vec<u8> = (0..200).collect();
        let text = write("A KEY", &bytes);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(read(&format!("before\n{text}after")), Some(("A KEY", bytes)));
        for bad in [
            "",
            "-----BEGIN X-----",
            "-----BEGIN X-----\n!\n-----END X-----",
            "-----BEGIN X-----\nYQ==\n-----END Y-----",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
