//! Progress as people know it: on a terminal lines that change in place, elsewhere a line for each step; both on
//! standard error.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use dray_compose::apply::{Event, Progress, Status};

use crate::app::App;
use crate::command_error::Error;
use crate::terminal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Terminal,
    Plain,
    Json,
    Quiet,
}

/// A display.
pub struct Display {
    kind: Kind,
    title: &'static str,
    dry: bool,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    drawn: usize,
    last: Option<Instant>,
}

struct Line {
    id: String,
    child: bool,
    status: Status,
    text: String,
    begun: Instant,
    ended: Option<Instant>,
}

impl Display {
    /// A display of the kind that flags and terminal ask for.
    ///
    /// # Errors
    /// There is no such kind.
    pub fn new(app: &App, title: &'static str) -> Result<Display, Error> {
        let env = |name: &str| std::env::var(name).unwrap_or_default();
        let asked = match app.group.get("progress") {
            "" => env("COMPOSE_PROGRESS"),
            given => given.to_owned(),
        };
        let ansi =
            if app.group.given("ansi") { app.group.get("ansi").to_owned() } else { env("COMPOSE_ANSI") };
        let refused = |text: &str| Err(Error::Refused(text.to_owned()));
        let kind = match (asked.as_str(), ansi.as_str()) {
            ("tty", "never") => return refused("can't use --progress tty while ANSI support is disabled"),
            ("plain", "always") => return refused("can't use --progress plain while ANSI support is forced"),
            ("tty", _) | ("" | "auto", "always") => Kind::Terminal,
            ("plain", _) | ("" | "auto", "never") => Kind::Plain,
            ("json", _) => Kind::Json,
            ("quiet" | "none", _) => Kind::Quiet,
            ("" | "auto", _) if terminal::is_terminal(rustix::stdio::stderr()) => Kind::Terminal,
            ("" | "auto", _) => Kind::Plain,
            (other, _) => return refused(&format!("unsupported --progress value {other:?}")),
        };
        Ok(Display { kind, title, dry: app.group.is("dry-run"), state: RefCell::default() })
    }

    /// A display of nothing.
    pub fn quiet() -> Display {
        Display { kind: Kind::Quiet, title: "", dry: false, state: RefCell::default() }
    }

    /// Draws for the last time; what comes after stands below.
    pub fn finish(&self) {
        if self.kind == Kind::Terminal {
            self.draw(true);
            *self.state.borrow_mut() = State::default();
        }
    }

    fn plain(&self, event: &Event) {
        let prefix = if self.dry { " DRY-RUN MODE - " } else { "" };
        let resource =
            ["Container ", "Network ", "Volume ", "Image "].iter().any(|p| event.id.starts_with(p));
        let named = resource || event.text == "Built";
        let gap = if named { "  " } else { " " };
        let tail = if named { "" } else { " " };
        eprintln!("{prefix} {}{gap}{}{tail}", event.id, event.text);
    }

    fn json(event: &Event) {
        let status = match event.status {
            Status::Working => "Working",
            Status::Done => "Done",
            Status::Warning => "Warning",
            Status::Error => "Error",
        };
        eprintln!("{}", serde_json::json!({"id": event.id, "status": status, "text": event.text}));
    }

    fn keep(&self, event: Event) {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        let ended = (event.status != Status::Working).then_some(now);
        match state.lines.iter_mut().find(|l| l.id == event.id) {
            Some(line) => {
                (line.status, line.text, line.ended) = (event.status, event.text, ended);
            }
            None => {
                let child = event.parent.is_some();
                let line =
                    Line { id: event.id, child, status: event.status, text: event.text, begun: now, ended };
                state.lines.push(line);
            }
        }
    }

    fn draw(&self, last: bool) {
        let mut state = self.state.borrow_mut();
        let recent = state.last.is_some_and(|at| at.elapsed() < Duration::from_millis(40));
        if state.lines.is_empty() || (recent && !last) {
            return;
        }
        let (height, width) = terminal::size(rustix::stdio::stderr()).unwrap_or((24, 80));
        let room = usize::from(height).saturating_sub(2).max(1);
        let mut out = String::new();
        if state.drawn > 0 {
            let _ = write!(out, "\x1b[{}A", state.drawn);
        }
        let done = state.lines.iter().filter(|l| l.status != Status::Working).count();
        let total = state.lines.len();
        let head = format!("[+] {} {done}/{total}", self.title);
        let head = if done == total { format!("\x1b[34m{head}\x1b[0m") } else { head };
        let _ = writeln!(out, "\r\x1b[2K{head}");
        let widest = state.lines.iter().map(|l| l.id.chars().count()).max().unwrap_or(0);
        let parents = state.lines.iter().filter(|l| !l.child || total < room);
        let mut count = 1;
        for line in parents.take(room) {
            let _ = writeln!(out, "\r\x1b[2K{}", line.shown(widest, usize::from(width)));
            count += 1;
        }
        state.drawn = count;
        state.last = Some(Instant::now());
        eprint!("{out}");
    }
}

impl Line {
    fn shown(&self, widest: usize, width: usize) -> String {
        let (mark, colour) = match self.status {
            Status::Working => ("⠿", "34"),
            Status::Done => ("✔", "32"),
            Status::Warning => ("!", "33"),
            Status::Error => ("✘", "31"),
        };
        let seconds = self.ended.unwrap_or_else(Instant::now).duration_since(self.begun).as_secs_f64();
        let timer = format!("{seconds:.1}s ");
        let indent = if self.child { "   " } else { " " };
        let room = width.saturating_sub(indent.len() + widest + timer.len() + 6);
        let text: String = self.text.lines().next().unwrap_or_default().chars().take(room).collect();
        let used = indent.len() + 2 + widest + 2 + text.chars().count() + timer.len();
        let gap = " ".repeat(width.saturating_sub(used));
        format!(
            "{indent}\x1b[{colour}m{mark}\x1b[0m {:widest$}  \x1b[{colour}m{text}\x1b[0m{gap}\x1b[34m{timer}\x1b[0m",
            self.id
        )
    }
}

impl Progress for Display {
    fn event(&self, event: Event) {
        match self.kind {
            Kind::Plain => self.plain(&event),
            Kind::Json => Display::json(&event),
            Kind::Quiet => {}
            Kind::Terminal => {
                self.keep(event);
                self.draw(false);
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.finish();
    }
}
