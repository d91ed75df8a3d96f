//! What `/proc` says of a process.

/// Start time of a process in clock ticks since boot; none when it is gone.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; fields are counted from behind it.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_this_process() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(super::start_time(pid).is_some_and(|time| time > 0));
        assert_eq!(super::start_time(i32::MAX), None);
    }
}
