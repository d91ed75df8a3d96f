//! The keys of an attached `up`: a line below the output names them, and standard input tells which was pressed.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::app::App;
use crate::flag::Parsed;
use crate::terminal::{self, Keys};

/// Whether the line is shown where no flag says so.
const VARIABLE: &str = "COMPOSE_MENU";
/// How long a note stands beside the keys.
const NOTE: Duration = Duration::from_secs(10);

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `w`: files are watched, or no more.
    Watch,
    /// Enter: room in the output.
    Enter,
}

/// The line of keys.
pub struct Menu {
    /// Characters of a line of the terminal.
    width: usize,
    coloured: bool,
    state: RefCell<State>,
    /// The terminal passes keys on one by one as long as this lives.
    _mode: Keys,
}

#[derive(Default)]
struct State {
    watching: bool,
    note: Option<(String, Instant)>,
    over: bool,
}

impl Menu {
    /// The menu of an `up` that has a terminal to itself and whose user does not mind.
    pub fn of(app: &App, p: &Parsed) -> Option<Menu> {
        let on = match std::env::var(VARIABLE) {
            _ if p.given("menu") => p.is("menu"),
            Ok(value) => is_true(&value),
            Err(_) => true,
        };
        let plain = app.group.get("progress") == "plain" || app.group.get("ansi") == "never";
        let stdout = rustix::stdio::stdout();
        if !on || plain || !terminal::is_live(stdout) {
            return None;
        }
        let mode = Keys::enter().ok().flatten()?;
        let width = terminal::size(stdout).map_or(80, |(_, columns)| usize::from(columns));
        Some(Menu { width, coloured: terminal::is_coloured(stdout), state: RefCell::default(), _mode: mode })
    }

    /// The keys as they are pressed.
    pub fn keys() -> mpsc::Receiver<Vec<u8>> {
        crate::stdio::read_stdin()
    }

    /// What takes the line away, so that something else can be written in its place.
    pub fn clear(&self) -> &'static str {
        "\r\x1b[K"
    }

    /// The line itself, at whose beginning the cursor stays.
    pub fn line(&self) -> String {
        let state = self.state.borrow();
        if state.over {
            return String::new();
        }
        let doing = if state.watching { " Disable Watch" } else { " Enable Watch" };
        let note = state.note.as_ref().filter(|(_, since)| since.elapsed() < NOTE);
        let note = note.map(|(text, _)| format!("   {text}")).unwrap_or_default();
        let mut left = self.width.saturating_sub(1);
        let mut line = String::new();
        // The key, what it does, and the note, as far as there is room: a line that wraps could not be taken away.
        for (text, style) in [("w", "1;38;2;0;0;0;48;2;255;255;255"), (doing, "2"), (note.as_str(), "36")] {
            let shown: String = text.chars().take(left).collect();
            left -= shown.chars().count();
            let _ = match self.coloured && !shown.is_empty() {
                true => write!(line, "\x1b[{style}m{shown}\x1b[0m"),
                false => write!(line, "{shown}"),
            };
        }
        line + "\r"
    }

    /// There are no keys from here on.
    pub fn end(&self) {
        self.state.borrow_mut().over = true;
    }

    /// Says which of the two things the key for watching does.
    pub fn set_watching(&self, watching: bool) {
        self.state.borrow_mut().watching = watching;
    }

    /// Shows a note for a while.
    pub fn note(&self, text: &str) {
        self.state.borrow_mut().note = Some((text.to_owned(), Instant::now()));
    }

    /// Waits until a note has been shown long enough.
    pub async fn noted(&self) {
        let since = self.state.borrow().note.as_ref().map(|(_, since)| *since);
        match since {
            Some(since) => tokio::time::sleep(NOTE.saturating_sub(since.elapsed())).await,
            None => std::future::pending().await,
        }
        self.state.borrow_mut().note = None;
    }
}

impl Drop for Menu {
    fn drop(&mut self) {
        if !self.state.borrow().over {
            // Nobody is left to see it where this fails.
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(self.clear().as_bytes()).and_then(|()| stdout.flush());
        }
    }
}

/// What the bytes of a terminal ask for; most are for nobody.
pub fn pressed(bytes: &[u8]) -> Vec<Key> {
    // A key beyond the letters is a sequence of several bytes, some of which look like letters.
    if bytes.first() == Some(&0x1b) {
        return Vec::new();
    }
    let key = |byte: &u8| match byte {
        b'w' => Some(Key::Watch),
        b'\r' | b'\n' => Some(Key::Enter),
        _ => None,
    };
    bytes.iter().filter_map(key).collect()
}

/// As Docker Compose reads switches of the environment.
fn is_true(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "y" | "1" | "t" | "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_is_none() {
        assert_eq!(pressed(b"w"), [Key::Watch]);
        assert_eq!(pressed(b"xw\r\n"), [Key::Watch, Key::Enter, Key::Enter]);
        assert_eq!(pressed(b"\x1b[1;5w"), []);
        assert_eq!(pressed("ü".as_bytes()), []);
    }

    #[test]
    fn switches_of_the_environment() {
        for (value, on) in
            [("1", true), ("true", true), (" Y ", true), ("0", false), ("no", false), ("", false)]
        {
            assert_eq!(is_true(value), on, "{value:?}");
        }
    }
}
