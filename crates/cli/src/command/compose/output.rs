//! Lines of many containers, each with its name before it and a colour of its own.

use std::cell::RefCell;
use std::io::Write as _;

use dray_client::{Channel, Frames};
use dray_compose::apply::HookOutput;
use dray_compose::plan::Seen;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::menu::Menu;
use super::position::{Entries, Lengths, Position, Reading};
use crate::app::App;
use crate::command_error::Error;
use crate::terminal;

/// The colours of names, one after another.
const COLOURS: &[&str] = &["36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1"];

/// Where the lines go.
pub struct Output {
    prefix: bool,
    coloured: bool,
    timestamps: bool,
    names: RefCell<Vec<String>>,
    menu: Option<Menu>,
}

impl Output {
    /// An output with or without names and colours.
    pub fn new(app: &App, no_color: bool, no_prefix: bool, timestamps: bool) -> Output {
        let ansi = match app.group.get("ansi") {
            "never" => false,
            "always" => true,
            _ => terminal::is_terminal(rustix::stdio::stdout()) && std::env::var_os("NO_COLOR").is_none(),
        };
        Output {
            prefix: !no_prefix,
            coloured: ansi && !no_color,
            timestamps,
            names: RefCell::default(),
            menu: None,
        }
    }

    /// The same with a line of keys below.
    pub fn above(mut self, menu: Option<Menu>) -> Output {
        self.menu = menu;
        self
    }

    /// The line of keys.
    pub fn menu(&self) -> Option<&Menu> {
        self.menu.as_ref()
    }

    /// Shows the line of keys as it is now.
    pub fn refresh(&self) {
        self.print("", false);
    }

    /// Takes the line of keys away for good.
    pub fn end_menu(&self) {
        self.menu.iter().for_each(Menu::end);
        self.refresh();
    }

    /// Takes the line of keys away until something is shown again.
    pub fn hide_menu(&self) {
        if let Some(menu) = &self.menu {
            let mut stdout = std::io::stdout().lock();
            let _ = stdout.write_all(menu.clear().as_bytes()).and_then(|()| stdout.flush());
        }
    }

    /// Shows text above the line of keys.
    pub fn say(&self, text: &str) {
        self.print(&format!("{text}\n"), false);
    }

    /// A reader that went away is seen where the command itself prints.
    fn print(&self, text: &str, error: bool) {
        let mut stdout = std::io::stdout().lock();
        let (before, after) = match &self.menu {
            Some(menu) => (menu.clear(), menu.line()),
            None => ("", String::new()),
        };
        if error {
            let _ = stdout.write_all(before.as_bytes()).and_then(|()| stdout.flush());
            let _ = std::io::stderr().lock().write_all(text.as_bytes());
            let _ = stdout.write_all(after.as_bytes());
        } else {
            let _ = stdout.write_all(format!("{before}{text}{after}").as_bytes());
        }
        let _ = stdout.flush();
    }

    /// Makes room for a name.
    pub fn register(&self, name: &str) {
        let mut names = self.names.borrow_mut();
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }

    fn colour(&self, name: &str, text: &str) -> String {
        let root = name.split(' ').next().unwrap_or(name);
        self.register(root);
        if !self.coloured {
            return text.to_owned();
        }
        let place = self.names.borrow().iter().position(|n| n == root).unwrap_or(0);
        format!("\x1b[{}m{text}\x1b[0m", COLOURS[place % COLOURS.len()])
    }

    /// Shows a line.
    pub fn line(&self, name: &str, line: &str) {
        self.write(name, line, false);
    }

    fn write(&self, name: &str, line: &str, error: bool) {
        let mut text = String::new();
        if self.prefix {
            self.register(name);
            let width = self.names.borrow().iter().map(String::len).max().unwrap_or(0) + 1;
            text.push_str(&self.colour(name, &format!("{name:width$} | ")));
        }
        if self.timestamps {
            let now = crate::format::time::rfc3339_nano_local(nanos());
            text.push_str(&format!("{now} "));
        }
        text.push_str(line);
        text.push('\n');
        self.print(&text, error);
    }

    /// Says something about a container.
    pub fn status(&self, name: &str, text: &str) {
        self.say(&self.colour(name, &format!("{name} {text}")));
    }

    /// Shows a container's stream line by line until it ends; what the program writes to standard error goes to
    /// standard error if `apart`. Gives how much it was.
    ///
    /// # Errors
    /// The stream breaks off.
    pub async fn show(
        &self,
        name: &str,
        from: impl AsyncRead + Unpin,
        tty: bool,
        apart: bool,
    ) -> Result<Lengths, Error> {
        let failed = Error::io("read the container's output");
        let (mut lines, mut errors) = (Lines::of(self, name, false), Lines::of(self, name, apart));
        if tty {
            let mut from = from;
            let mut buffer = vec![0; 16 << 10];
            loop {
                match from.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(n) => lines.push(&buffer[..n]),
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
                    Err(e) => return Err(failed(e)),
                }
            }
        } else {
            let mut frames = Frames::new(from);
            loop {
                match frames.next().await {
                    Ok(Some((Channel::Stderr, bytes))) => errors.push(&bytes),
                    Ok(Some((Channel::Stdout, bytes))) => lines.push(&bytes),
                    Ok(None) => break,
                    Err(e) => return Err(failed(e)),
                }
            }
        }
        let lengths =
            Lengths { lines: [lines.whole, errors.whole], rest: [lines.rest.len(), errors.rest.len()] };
        lines.finish();
        errors.finish();
        Ok(lengths)
    }

    /// Shows the entries of a log from a place on until they end; gives the place after them.
    ///
    /// # Errors
    /// The stream breaks off.
    pub async fn entries(
        &self,
        name: &str,
        mut entries: Entries<impl AsyncRead + Unpin>,
        mut reading: Reading,
    ) -> Result<Position, Error> {
        let (mut lines, mut errors) = (Lines::of(self, name, false), Lines::of(self, name, false));
        while let Some((channel, entry)) =
            entries.next().await.map_err(Error::io("read the container's log"))?
        {
            let Some(new) = reading.take(channel, entry) else { continue };
            match channel {
                Channel::Stdout => lines.push(&new),
                Channel::Stderr => errors.push(&new),
            }
        }
        lines.finish();
        errors.finish();
        Ok(reading.position())
    }
}

fn nanos() -> i128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| i128::try_from(d.as_nanos()).unwrap_or(0))
}

/// Bytes cut into lines.
struct Lines<'a> {
    output: &'a Output,
    name: &'a str,
    error: bool,
    /// How many have come.
    whole: usize,
    rest: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn of(output: &'a Output, name: &'a str, error: bool) -> Lines<'a> {
        Lines { output, name, error, whole: 0, rest: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8]) {
        let mut new = bytes;
        while let Some(end) = new.iter().position(|b| *b == b'\n') {
            self.rest.extend_from_slice(&new[..end]);
            new = &new[end + 1..];
            self.whole += 1;
            let line = std::mem::take(&mut self.rest);
            let text = String::from_utf8_lossy(&line);
            self.output.write(self.name, text.trim_end_matches('\r'), self.error);
        }
        self.rest.extend_from_slice(new);
    }

    fn finish(&mut self) {
        if !self.rest.is_empty() {
            let line = std::mem::take(&mut self.rest);
            self.output.write(self.name, &String::from_utf8_lossy(&line), self.error);
        }
    }
}

impl HookOutput for Output {
    fn write(&self, container: &Seen, bytes: &[u8]) {
        let name = format!("{} ->", short_name(container));
        for line in String::from_utf8_lossy(bytes).lines() {
            self.line(&name, line);
        }
    }
}

/// A container's name without the project's.
pub fn short_name(container: &Seen) -> String {
    let project = container.label(dray_compose::plan::label::PROJECT);
    without_project(container.name(), project, container.service()).to_owned()
}

/// A name without the project's, if it is made of it and the service's.
pub fn without_project<'a>(name: &'a str, project: &str, service: &str) -> &'a str {
    let own = name.strip_prefix(project).and_then(|n| n.strip_prefix(['-', '_']));
    own.filter(|rest| rest.starts_with(service)).unwrap_or(name)
}
