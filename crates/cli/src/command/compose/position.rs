//! Where in a container's log a reader has stopped, so that it can go on there after the container's end and restart:
//! nothing twice, nothing left out, however often it was started again meanwhile.
//!
//! A log is asked for with the time of each entry. The times rise, but several entries may have the same: so a place is
//! a time, and how many bytes of that time have been read. What was read live, before the container's start, has no
//! times; its lines are counted instead.

use bytes::{Buf as _, Bytes, BytesMut};
use dray_client::{Channel, Frames};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Both Docker's daemon and Dray's cut longer lines into entries of this size.
const PIECE: usize = 16 << 10;
/// A time at the beginning of an entry is not longer.
const MAX_TIME: usize = 40;

/// A place in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The time of the latest entry that was read; none before the first one.
    pub time: String,
    /// How much of this time was read.
    bytes: usize,
    /// What was read after that, without times.
    live: Lengths,
}

/// How much of each of the two streams was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Whole lines.
    pub lines: [usize; 2],
    /// Bytes after the last of them.
    pub rest: [usize; 2],
}

impl Position {
    /// The first entry of a time, or later.
    pub fn since(time: String) -> Position {
        Position { time, ..Position::default() }
    }

    /// This place, and so much further.
    pub fn and(mut self, live: Lengths) -> Position {
        self.live = live;
        self
    }
}

/// Reads on from a place: tells what of each entry is new.
#[derive(Debug)]
pub struct Reading {
    at: Position,
    /// Bytes of the place's time that come once more.
    again: usize,
    lines: [usize; 2],
    pieces: [usize; 2],
    /// Entries of this time and later were not read live: they are of a run that began when the live one had ended.
    /// Where older ones are lost, because the log was rotated, lines are so not taken for others.
    before: String,
    keep_times: bool,
}

impl Reading {
    /// Goes on at a place. `before`: when the run began that is the container's last.
    pub fn from(at: Position, before: &str, keep_times: bool) -> Reading {
        let (again, live) = (at.bytes, at.live);
        let pieces = live.rest.map(|bytes| bytes.div_ceil(PIECE));
        let at = Position { live: Lengths::default(), ..at };
        Reading { at, again, lines: live.lines, pieces, before: before.to_owned(), keep_times }
    }

    /// What of an entry has not been read before, without its time.
    pub fn take(&mut self, channel: Channel, mut entry: Bytes) -> Option<Bytes> {
        let mut length = time_length(&entry).unwrap_or(0);
        if self.again > 0 {
            if time(&entry, length) != self.at.time.as_bytes() {
                // Rotated away.
                self.again = 0;
            } else if entry.len() <= self.again {
                self.again -= entry.len();
                return None;
            } else {
                // A line of a terminal that the end of the program cut off, and the first one of the next run.
                entry.advance(std::mem::take(&mut self.again));
                length = time_length(&entry).unwrap_or(0);
            }
        }
        let known = self.was_live(channel, &entry, length);
        self.pass(&entry, length);
        if known {
            return None;
        }
        if !self.keep_times {
            entry.advance(length);
        }
        Some(entry)
    }

    /// The place after what was taken.
    pub fn position(self) -> Position {
        self.at
    }

    fn pass(&mut self, entry: &[u8], length: usize) {
        let time = time(entry, length);
        match time.cmp(self.at.time.as_bytes()) {
            std::cmp::Ordering::Greater => {
                self.at.time = String::from_utf8_lossy(time).into_owned();
                self.at.bytes = entry.len();
            }
            std::cmp::Ordering::Equal => self.at.bytes += entry.len(),
            // A long line's later pieces have the time of the first.
            std::cmp::Ordering::Less => {}
        }
    }

    /// Whether an entry was read live.
    fn was_live(&mut self, channel: Channel, entry: &[u8], length: usize) -> bool {
        let stream = usize::from(channel == Channel::Stderr);
        if time(entry, length) >= self.before.as_bytes() {
            return false;
        }
        let ends = entry.ends_with(b"\n");
        let left = match (self.lines[stream], ends) {
            (1.., true) => &mut self.lines[stream],
            (1.., false) => return true,
            (0, true) => return false,
            (0, false) => &mut self.pieces[stream],
        };
        let known = *left > 0;
        *left = left.saturating_sub(1);
        known
    }
}

fn time(entry: &[u8], length: usize) -> &[u8] {
    &entry[..length.saturating_sub(1)]
}

/// How long the time at an entry's beginning is, with the space after it.
fn time_length(entry: &[u8]) -> Option<usize> {
    let head = &entry[..entry.len().min(MAX_TIME)];
    let end = head.iter().position(|byte| *byte == b' ')?;
    let shaped = end > 19
        && head[..4].iter().all(u8::is_ascii_digit)
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
            .iter()
            .all(|(at, byte)| head[*at] == *byte);
    shaped.then_some(end + 1)
}

/// The entries of a log that was asked for with times.
pub enum Entries<R> {
    /// Each is a frame.
    Framed(Frames<R>),
    /// Of a container with a terminal: one after another.
    Terminal {
        /// Where they come from.
        from: R,
        /// What has come and was not handed out.
        buffer: BytesMut,
    },
}

impl<R: AsyncRead + Unpin> Entries<R> {
    /// Reads entries of a log.
    pub fn new(from: R, tty: bool) -> Entries<R> {
        if tty {
            Entries::Terminal { from, buffer: BytesMut::new() }
        } else {
            Entries::Framed(Frames::new(from))
        }
    }

    /// The next entry.
    ///
    /// # Errors
    /// The stream breaks off.
    pub async fn next(&mut self) -> std::io::Result<Option<(Channel, Bytes)>> {
        let (from, buffer) = match self {
            Entries::Framed(frames) => return frames.next().await,
            Entries::Terminal { from, buffer } => (from, buffer),
        };
        let mut ended = false;
        loop {
            if let Some(length) = entry_length(buffer, ended) {
                return Ok(Some((Channel::Stdout, buffer.split_to(length).freeze())));
            }
            if ended {
                return Ok(None);
            }
            ended = match from.read_buf(buffer).await {
                Ok(read) => read == 0,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => true,
                Err(e) => return Err(e),
            };
        }
    }
}

/// How long the first entry of a terminal's log is; none if more has to come first.
fn entry_length(buffer: &[u8], ended: bool) -> Option<usize> {
    let line = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    let whole = line.or((ended && !buffer.is_empty()).then_some(buffer.len()));
    let piece = time_length(buffer)? + PIECE;
    if whole.unwrap_or(buffer.len()) <= piece {
        return whole;
    }
    // Longer than an entry can be, unless the program writes no times there: then the daemon knows other pieces.
    let rest = &buffer[piece..];
    match time_length(rest) {
        Some(_) => Some(piece),
        None if rest.len() < MAX_TIME && !ended => None,
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [&str; 3] = [
        "2026-01-01T00:00:01.000000000Z",
        "2026-01-01T00:00:02.000000000Z",
        "2026-01-01T00:00:03.000000000Z",
    ];

    fn entry(time: usize, text: &str) -> Bytes {
        format!("{} {text}", TIMES[time]).into()
    }

    fn taken(reading: &mut Reading, entries: &[Bytes]) -> Vec<String> {
        let new = entries.iter().filter_map(|entry| reading.take(Channel::Stdout, entry.clone()));
        new.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn reading_goes_on_where_it_stopped() {
        let all = [entry(0, "a\n"), entry(1, "b\n"), entry(1, "c\n"), entry(1, "d\n"), entry(2, "e\n")];
        for stop in 0..=all.len() {
            let mut first = Reading::from(Position::default(), "", false);
            let mut seen = taken(&mut first, &all[..stop]);
            let at = first.position();
            // The daemon sends what is of this time and later.
            let since =
                all.iter().position(|entry| at.time.as_bytes() <= &entry[..at.time.len()]).unwrap_or(0);
            let mut second = Reading::from(at, "", false);
            seen.extend(taken(&mut second, &all[since..]));
            assert_eq!(seen, ["a\n", "b\n", "c\n", "d\n", "e\n"], "stopped after {stop}");
        }
    }

    #[test]
    fn what_was_rotated_away_takes_nothing_along() {
        let mut first = Reading::from(Position::default(), "", false);
        taken(&mut first, &[entry(0, "a\n")]);
        let mut second = Reading::from(first.position(), "", true);
        assert_eq!(taken(&mut second, &[entry(1, "a\n")]), [format!("{} a\n", TIMES[1])]);
    }

    #[test]
    fn lines_read_live_are_not_read_again() {
        let live = Lengths { lines: [2, 0], rest: [PIECE + 1, 0] };
        let long = "x".repeat(PIECE);
        let all = [entry(0, "a\n"), entry(0, "b\n"), entry(0, &long), entry(0, "x"), entry(0, "new\n")];
        let mut reading = Reading::from(Position::default().and(live), TIMES[2], false);
        assert_eq!(taken(&mut reading, &all), ["new\n"]);
        // A later run is new whatever it says.
        let mut reading = Reading::from(Position::default().and(live), TIMES[1], false);
        assert_eq!(taken(&mut reading, &[entry(1, "a\n"), entry(1, "b\n")]), ["a\n", "b\n"]);
    }

    async fn entries(text: &str) -> Vec<String> {
        let mut entries = Entries::new(text.as_bytes(), true);
        let mut all = Vec::new();
        while let Some((_, entry)) = entries.next().await.unwrap() {
            all.push(String::from_utf8(entry.to_vec()).unwrap());
        }
        all
    }

    #[tokio::test]
    async fn a_terminals_log_has_entries_too() {
        let [one, two, _] = TIMES;
        let long = "x".repeat(PIECE);
        let text = format!("{one} a\r\n{one} {long}{one} y\r\n{two} $ ");
        let all = entries(&text).await;
        assert_eq!(
            all,
            [format!("{one} a\r\n"), format!("{one} {long}"), format!("{one} y\r\n"), format!("{two} $ ")]
        );
        // The prompt was all there was; then the next run's first line stands behind it.
        let mut first = Reading::from(Position::default(), "", false);
        let all: Vec<Bytes> = all.into_iter().map(Bytes::from).collect();
        taken(&mut first, &all);
        let mut second = Reading::from(first.position(), "", false);
        let more = entries(&format!("{two} $ {} b\r\n", TIMES[2])).await;
        let more: Vec<Bytes> = more.into_iter().map(Bytes::from).collect();
        assert_eq!(taken(&mut second, &more), ["b\r\n"]);
    }
}
