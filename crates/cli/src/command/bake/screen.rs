//! The progress of all targets in one display, on standard error; what they put out may be on standard output.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;

use dray_client::api::build::BuildEvent;

use crate::command::image::build::Listener;
use crate::command_error::Error;
use crate::progress::build::raw::Raw;
use crate::progress::build::{Display, Style, shown};
use crate::terminal;

/// How progress is shown.
enum Shown {
    Display(Box<Display>),
    Raw(BTreeMap<String, Raw>),
    Nothing,
}

/// The display of all targets.
pub(super) struct Screen(RefCell<Shown>);

impl Screen {
    /// By the value of `--progress`.
    pub fn new(progress: &str) -> Screen {
        let live = Style::Live { coloured: terminal::is_coloured(rustix::stdio::stderr()) };
        let style = match progress {
            "rawjson" => return Screen(RefCell::new(Shown::Raw(BTreeMap::new()))),
            "quiet" | "none" => return Screen(RefCell::new(Shown::Nothing)),
            "plain" => Style::Plain,
            "tty" => live,
            _ if terminal::is_live(rustix::stdio::stderr()) => live,
            _ => Style::Plain,
        };
        Screen(RefCell::new(Shown::Display(Box::new(Display::new(style, 80)))))
    }

    /// Draws what is under way once more.
    ///
    /// # Errors
    /// Standard error cannot be written.
    pub fn draw(&self) -> Result<(), Error> {
        let Shown::Display(display) = &mut *self.0.borrow_mut() else { return Ok(()) };
        let size =
            terminal::size(rustix::stdio::stderr()).filter(|(height, width)| *height > 0 && *width > 0);
        let (height, width) = size.unwrap_or((u16::MAX, 80));
        display.resize(width.into(), height.into());
        write(&display.frame())
    }

    /// Takes away what was drawn, and tells what is left to tell.
    ///
    /// # Errors
    /// Standard error cannot be written.
    pub fn finish(&self) -> Result<(), Error> {
        match &mut *self.0.borrow_mut() {
            Shown::Display(display) => write(&display.finish()),
            _ => Ok(()),
        }
    }

    /// What hears of one target.
    pub fn of<'a>(&'a self, target: &'a str) -> OfTarget<'a> {
        OfTarget { screen: self, target }
    }
}

/// What hears of one target.
pub(super) struct OfTarget<'a> {
    screen: &'a Screen,
    target: &'a str,
}

impl Listener for OfTarget<'_> {
    fn event(&self, event: BuildEvent) -> Result<(), Error> {
        match &mut *self.screen.0.borrow_mut() {
            Shown::Display(display) => write(&display.event_of(self.target, event)),
            Shown::Raw(all) => {
                let raw = all.entry(self.target.to_owned()).or_insert_with(|| Raw::of(self.target));
                write(&raw.event(event))
            }
            Shown::Nothing => Ok(()),
        }
    }

    fn text(&self, text: &str) -> Result<(), Error> {
        let is_shown = matches!(&*self.screen.0.borrow(), Shown::Display(_));
        let lines = text.lines().filter(|line| is_shown && !line.trim().is_empty());
        lines.map(|line| format!("[{}] {}\n", self.target, shown(line))).try_for_each(|line| write(&line))
    }
}

fn write(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Ok(());
    }
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::io("write standard error"))
}
