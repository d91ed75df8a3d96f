//! Which kernel runs, for what cannot be asked of it otherwise.

/// Whether the kernel is of a version (`6.7`) or a later one.
pub fn is_at_least(version: &str) -> bool {
    at_least(&rustix::system::uname().release().to_string_lossy(), version)
}

fn at_least(running: &str, wanted: &str) -> bool {
    let parts = |text: &str| -> (u32, u32) {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    };
    parts(running) >= parts(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        assert!(at_least("6.1.0-56-cloud-amd64", "5.19") && at_least("6.18.3", "6.7"));
        assert!(at_least("6.7.0", "6.7") && !at_least("6.6.99", "6.7") && !at_least("5.19", "6.1"));
    }
}
