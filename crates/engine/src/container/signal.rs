//! Signals by name and number, as `--stop-signal`, `docker kill -s` and `STOPSIGNAL` take them.

use super::Error;

/// Names (without `SIG`) and numbers of Linux's signals on the architectures we run on.
const NAMES: &[(&str, i32)] = &[
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
];

/// The first and last real-time signal that a program may use.
const RT: (i32, i32) = (34, 64);

/// SIGKILL.
pub const KILL: i32 = 9;
/// SIGTERM.
pub const TERM: i32 = 15;

/// Reads a signal: a number, a name with or without `SIG`, in any case, or `RTMIN+n`/`RTMAX-n`.
///
/// # Errors
/// `Invalid signal: x` when it is none of these.
pub fn parse(raw: &str) -> Result<i32, Error> {
    let invalid = || Error::InvalidSignal(raw.to_owned());
    if let Ok(number) = raw.parse::<i32>() {
        return if number == 0 || number > RT.1 || number < 0 { Err(invalid()) } else { Ok(number) };
    }
    let upper = raw.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    real_time(name).ok_or_else(invalid)
}

fn real_time(name: &str) -> Option<i32> {
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        RT.0 + if rest.is_empty() { 0 } else { rest.strip_prefix('+')?.parse::<i32>().ok()? }
    } else {
        let rest = name.strip_prefix("RTMAX")?;
        RT.1 - if rest.is_empty() { 0 } else { rest.strip_prefix('-')?.parse::<i32>().ok()? }
    };
    (RT.0..=RT.1).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_real_time() {
        assert_eq!(parse("9").unwrap(), 9);
        assert_eq!(parse("sigterm").unwrap(), 15);
        assert_eq!(parse("Usr1").unwrap(), 10);
        assert_eq!(parse("SIGRTMIN+3").unwrap(), 37);
        assert_eq!(parse("RTMAX-1").unwrap(), 63);
        assert_eq!(parse("RTMAX").unwrap(), 64);
    }

    #[test]
    fn refuses_what_is_no_signal() {
        for raw in ["", "0", "65", "-1", "SIGFOO", "RTMIN+99", "RTMAX-", "SIG"] {
            assert_eq!(parse(raw).unwrap_err().to_string(), format!("Invalid signal: {raw}"));
        }
    }
}
