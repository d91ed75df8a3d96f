//! Secrets of a build, which are taken out of what is kept of it.

use std::sync::{Mutex, PoisonError};

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// What is shorter is no secret, but a piece of everything.
const SHORTEST: usize = 4;

/// The secrets that steps of a build were given.
#[derive(Debug, Default)]
pub struct Mask(Mutex<Vec<String>>);

impl Mask {
    /// Adds a secret; one of several lines is hidden line by line.
    pub fn add(&self, secret: &[u8]) {
        let text = String::from_utf8_lossy(secret).into_owned();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines().map(str::trim).filter(|line| line.len() >= SHORTEST) {
            if !known.iter().any(|known| known == line) {
                known.push(line.to_owned());
            }
        }
        // Of two secrets one of which holds the other, the whole goes first.
        known.sort_by_key(|line| std::cmp::Reverse(line.len()));
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The text without secrets.
    pub fn hide(&self, text: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(text.to_owned(), |text, secret| match text.contains(secret.as_str()) {
            true => text.replace(secret.as_str(), HIDDEN),
            false => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_line_by_line_and_the_longest_first() {
        let mask = Mask::default();
        assert!(mask.is_empty());
        mask.add(b"hunter2\n");
        mask.add(b"hunter2-and-more");
        mask.add(b"-----BEGIN KEY-----\nAAAABBBB\nab\n");
        assert_eq!(mask.hide("hunter2-and-more hunter2 AAAABBBB ab"), "*** *** *** ab");
    }

    #[test]
    fn what_is_too_short_hides_nothing() {
        let mask = Mask::default();
        mask.add(b"a");
        assert!(mask.is_empty());
        assert_eq!(mask.hide("banana"), "banana");
    }
}
