//! The body of every answer that is an error.

wire! {
    /// `{"message": "…"}`.
    pub struct ErrorResponse {
        pub message: String,
    }
}

impl ErrorResponse {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        ErrorResponse { message: plain(message.into()) }
    }
}

/// An error's text with what the system said as Docker's users know it, `no such file or directory`, instead of Rust's
/// `No such file or directory (os error 2)`: wherever in the text it stands.
#[must_use]
pub fn plain(mut text: String) -> String {
    const MARK: &str = " (os error ";
    while let Some(at) = text.find(MARK) {
        let digits = text[at + MARK.len()..].bytes().take_while(u8::is_ascii_digit).count();
        let end = at + MARK.len() + digits;
        if digits == 0 || text.as_bytes().get(end) != Some(&b')') {
            return text;
        }
        text.replace_range(at..=end, "");
        // The system's words begin after the last colon before the mark.
        let from = text[..at].rfind(": ").map_or(0, |colon| colon + 2);
        if let Some(first) = text[from..].chars().next() {
            text.replace_range(from..from + first.len_utf8(), &first.to_lowercase().to_string());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_speaks_as_in_docker() {
        let said = |text: &str| plain(text.to_owned());
        assert_eq!(
            said("open /x: No such file or directory (os error 2)"),
            "open /x: no such file or directory"
        );
        assert_eq!(
            said("Permission denied (os error 13); a: Is a directory (os error 21)!"),
            "permission denied; a: is a directory!"
        );
        assert_eq!(said("a (os error x) b"), "a (os error x) b");
        assert_eq!(said("nothing of the kind"), "nothing of the kind");
    }
}
