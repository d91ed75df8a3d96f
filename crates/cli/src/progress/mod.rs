//! Shows the messages of pull, push, load, import and classic builds, on a terminal as lines that change in place,
//! elsewhere as plain lines; both byte for byte as Docker's CLI does.

mod bar;
pub mod build;

use std::collections::HashMap;
use std::fmt::Write as _;

use dray_client::JsonStream;
use dray_client::api::progress::{ProgressDetail, ProgressMessage};

use crate::app::App;
use crate::command_error::Error;

pub use bar::bar;

/// A display of messages.
pub struct Display {
    live: bool,
    width: usize,
    lines: HashMap<String, usize>,
}

impl Display {
    /// A display on standard output or error.
    pub fn on(fd: std::os::fd::BorrowedFd<'_>) -> Display {
        let width = crate::terminal::size(fd).map_or(200, |(_, w)| usize::from(w));
        Display { live: crate::terminal::is_terminal(fd), width, lines: HashMap::new() }
    }

    /// A display of a known kind, for tests and for streams that are no terminal.
    #[cfg(test)]
    pub fn of(live: bool, width: usize) -> Display {
        Display { live, width, lines: HashMap::new() }
    }

    /// What one message prints.
    pub fn text(&mut self, message: &ProgressMessage) -> String {
        let mut out = String::new();
        let mut up = 0;
        let detailed = message.progress_detail.is_some() || !message.progress.is_empty();
        if !message.id.is_empty() && detailed {
            let count = self.lines.len();
            let line = *self.lines.entry(message.id.clone()).or_insert(count);
            if line == count && self.live {
                out.push('\n');
            }
            up = self.lines.len() - line;
            if self.live {
                let _ = write!(out, "\x1b[{up}A");
            }
        } else {
            self.lines.clear();
        }
        self.line(message, &mut out);
        if self.live && !message.id.is_empty() && up > 0 {
            let _ = write!(out, "\x1b[{up}B");
        }
        out
    }

    fn line(&self, message: &ProgressMessage, out: &mut String) {
        let bar = message.progress_detail.as_ref().map(|d: &ProgressDetail| bar(d, self.width));
        let mut end = "";
        if self.live && message.stream.is_empty() && bar.is_some() {
            out.push_str("\x1b[2K\r");
            end = "\r";
        } else if bar.as_ref().is_some_and(|b| !b.is_empty()) {
            return;
        }
        if !message.id.is_empty() {
            let _ = write!(out, "{}: ", message.id);
        }
        if !message.from.is_empty() {
            let _ = write!(out, "(from {}) ", message.from);
        }
        match bar {
            Some(bar) if self.live => {
                let _ = write!(out, "{} {bar}{end}", message.status);
            }
            _ if !message.progress.is_empty() => {
                let _ = write!(out, "{} {}{end}", message.status, message.progress);
            }
            _ if !message.stream.is_empty() => {
                let _ = write!(out, "{}{end}", message.stream);
            }
            _ => {
                let _ = writeln!(out, "{}{end}", message.status);
            }
        }
    }
}

/// The error that a message tells of.
pub fn failure(message: &ProgressMessage) -> Option<Error> {
    let detail = message.error_detail.as_ref();
    let text =
        detail.map(|d| d.message.clone()).filter(|m| !m.is_empty()).unwrap_or_else(|| message.error.clone());
    if text.is_empty() {
        return None;
    }
    let code = detail.map_or(0, |d| d.code);
    Some(Error::Stream { message: text, code: u8::try_from(code).ok().filter(|c| *c != 0).unwrap_or(1) })
}

/// Shows all messages; `aux` gets those for programs.
///
/// # Errors
/// The stream breaks off or tells of an error.
pub async fn show(
    app: &App,
    mut messages: JsonStream<ProgressMessage>,
    mut aux: impl FnMut(serde_json::Value),
) -> Result<(), Error> {
    let mut display = Display::on(rustix::stdio::stdout());
    while let Some(message) = messages.next().await? {
        if let Some(error) = failure(&message) {
            return Err(error);
        }
        if let Some(value) = message.aux {
            aux(value);
            continue;
        }
        app.print(display.text(&message))?;
    }
    Ok(())
}

/// Shows all messages on standard error, as `run` does while it pulls.
///
/// # Errors
/// The stream breaks off or tells of an error.
pub async fn show_on_stderr(messages: JsonStream<ProgressMessage>) -> Result<(), Error> {
    let mut display = Display::on(rustix::stdio::stderr());
    wait(messages, |message| eprint!("{}", display.text(&message))).await
}

/// Reads all messages and shows none.
///
/// # Errors
/// The stream breaks off or tells of an error.
pub async fn wait(
    mut messages: JsonStream<ProgressMessage>,
    mut each: impl FnMut(ProgressMessage),
) -> Result<(), Error> {
    while let Some(message) = messages.next().await? {
        if let Some(error) = failure(&message) {
            return Err(error);
        }
        each(message);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: &str, status: &str, current: i64, total: i64) -> ProgressMessage {
        let detail = ProgressDetail { current, total, ..ProgressDetail::default() };
        ProgressMessage { progress_detail: Some(detail), ..ProgressMessage::status_of(id, status) }
    }

    #[test]
    fn plain_lines_have_no_bars() {
        let mut display = Display::of(false, 80);
        assert_eq!(
            display.text(&ProgressMessage::status_of("latest", "Pulling from library/x")),
            "latest: Pulling from library/x\n"
        );
        assert_eq!(display.text(&layer("abc", "Pulling fs layer", 0, 0)), "abc: Pulling fs layer\n");
        assert_eq!(display.text(&layer("abc", "Downloading", 5, 10)), "");
        assert_eq!(display.text(&ProgressMessage::stream("Step 1\n")), "Step 1\n");
    }

    #[test]
    fn live_lines_are_found_again() {
        let mut display = Display::of(true, 120);
        assert_eq!(display.text(&layer("a", "Waiting", 0, 0)), "\n\x1b[1A\x1b[2K\ra: Waiting \r\x1b[1B");
        assert_eq!(display.text(&layer("b", "Waiting", 0, 0)), "\n\x1b[1A\x1b[2K\rb: Waiting \r\x1b[1B");
        let text = display.text(&layer("a", "Downloading", 500, 1000));
        assert!(text.starts_with("\x1b[2A\x1b[2K\ra: Downloading [=========================>"), "{text:?}");
        assert!(text.ends_with("    500B/1kB\r\x1b[2B"), "{text:?}");
    }

    #[test]
    fn errors_are_told() {
        let error = failure(&ProgressMessage::error(7, "no space")).unwrap();
        assert_eq!((error.to_string().as_str(), error.code()), ("no space", 7));
        assert!(failure(&ProgressMessage::status("fine")).is_none());
    }
}
