//! Shows a build of Dray's own daemon: each step with its time, `CACHED`, its output.
//!
//! ```text
//! live    finished steps above as lines that stay; below them the running ones with their last lines, redrawn
//! plain   every line once, each with its step's number and the seconds since the step began
//! rawjson see raw.rs
//! ```
//! A live frame has no line that is wider than the terminal and no more lines than it has: nothing of it would be where
//! the next one expects it.

pub mod raw;
pub mod status;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dray_client::api::build::BuildEvent;

use crate::format::{columns, ellipsis};

/// Lines of output kept of a running step on a terminal.
const TAIL: usize = 6;
/// Lines of output shown of a step that failed.
const FAILED_TAIL: usize = 20;

/// How a build is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Redrawn in place.
    Live {
        /// With colours.
        coloured: bool,
    },
    /// Lines, one after another.
    Plain,
}

/// A step under way.
#[derive(Debug)]
struct Step {
    title: String,
    began: Instant,
    lines: Vec<String>,
    partial: String,
    pulls: BTreeMap<String, String>,
}

/// Several builds in one display: each has its own count of steps, all of them are numbered through.
#[derive(Debug, Default)]
struct Several {
    /// The build of the event at hand.
    name: String,
    numbers: BTreeMap<(String, usize), usize>,
    totals: BTreeMap<String, usize>,
}

impl Several {
    fn number(&mut self, n: usize) -> usize {
        if self.name.is_empty() {
            return n;
        }
        let next = self.numbers.len() + 1;
        *self.numbers.entry((self.name.clone(), n)).or_insert(next)
    }

    /// The steps of the build at hand, and of all.
    fn total(&mut self, total: usize) -> (usize, usize) {
        let own = self.totals.entry(self.name.clone()).or_default();
        *own = total.max(*own);
        (*own, self.totals.values().sum())
    }
}

/// A display of build events.
#[derive(Debug)]
pub struct Display {
    style: Style,
    width: usize,
    height: usize,
    total: usize,
    done: usize,
    began: Instant,
    running: BTreeMap<usize, Step>,
    drawn: usize,
    /// Several builds at once.
    several: Several,
    /// What is unwise in the Dockerfile, told at the end.
    warnings: Vec<String>,
}

fn seconds(d: Duration) -> String {
    format!("{:.1}s", d.as_secs_f64())
}

impl Display {
    /// A display in a style.
    pub fn new(style: Style, width: usize) -> Display {
        Display {
            style,
            width,
            height: usize::MAX,
            total: 0,
            done: 0,
            began: Instant::now(),
            running: BTreeMap::new(),
            drawn: 0,
            several: Several::default(),
            warnings: Vec::new(),
        }
    }

    /// The terminal has this many columns and lines now.
    pub fn resize(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
    }

    /// What an event of one of several builds prints at once: its steps have its name.
    pub fn event_of(&mut self, name: &str, event: BuildEvent) -> String {
        name.clone_into(&mut self.several.name);
        self.event(event)
    }

    /// `[name] ` before what is not a step.
    fn of_build(&self, text: String) -> String {
        if self.several.name.is_empty() { text } else { format!("[{}] {text}", self.several.name) }
    }

    /// What an event prints at once; on a terminal running steps are drawn by [`Display::frame`].
    pub fn event(&mut self, event: BuildEvent) -> String {
        match event {
            BuildEvent::Plan { total } => {
                self.total = self.several.total(total).1;
                String::new()
            }
            BuildEvent::Step { n, total, text, stage } => self.begin(n, total, &text, &stage),
            BuildEvent::Output { n, text, .. } => self.output(n, &text),
            BuildEvent::Pull { n, id, status, current, total } => self.pull(n, &id, &status, current, total),
            BuildEvent::StepDone { n, millis, cached, .. } => self.end(n, millis, cached),
            BuildEvent::StepFailed { n, millis, excerpt, .. } => self.fail(n, millis, &excerpt),
            BuildEvent::Check { rule, url, detail, excerpt, .. } => {
                let page = if url.is_empty() { String::new() } else { format!(" - {url}") };
                let warning = self.of_build(format!("WARNING: {rule}{page}\n{detail}\n{excerpt}"));
                self.warnings.push(warning);
                String::new()
            }
            BuildEvent::Warning { message } => self.lasting_of_build(format!("WARNING: {message}\n")),
            BuildEvent::Export { name, millis } => {
                let name = self.of_build(name);
                self.export(&name, millis)
            }
            BuildEvent::Built { id } => {
                self.lasting_of_build(format!("Successfully built {}\n", crate::format::short_id(&id)))
            }
            BuildEvent::Tagged { reference } => {
                self.lasting_of_build(format!("Successfully tagged {reference}\n"))
            }
            BuildEvent::CacheHit { .. } | BuildEvent::Running { .. } | BuildEvent::Unknown => String::new(),
        }
    }

    fn lasting_of_build(&mut self, text: String) -> String {
        let text = self.of_build(text);
        self.lasting(&text)
    }

    fn begin(&mut self, place: usize, total: usize, text: &str, stage: &str) -> String {
        let (total, all) = self.several.total(total);
        let n = self.several.number(place);
        self.total = all;
        let stage = if stage.is_empty() || stage.bytes().all(|b| b.is_ascii_digit()) {
            String::new()
        } else {
            format!("{stage} ")
        };
        let first = shown(text.lines().next().unwrap_or_default());
        let build = match self.several.name.as_str() {
            "" => String::new(),
            name => format!("{name} "),
        };
        let title = format!("[{build}{stage}{place}/{total}] {first}");
        let step = Step {
            title: title.clone(),
            began: Instant::now(),
            lines: Vec::new(),
            partial: String::new(),
            pulls: BTreeMap::new(),
        };
        self.running.insert(n, step);
        if self.style == Style::Plain { format!("#{n} {title}\n") } else { String::new() }
    }

    fn output(&mut self, n: usize, text: &str) -> String {
        let plain = self.style == Style::Plain;
        let n = self.several.number(n);
        let Some(step) = self.running.get_mut(&n) else { return String::new() };
        step.partial.push_str(text);
        let mut out = String::new();
        while let Some(end) = step.partial.find('\n') {
            let line: String = step.partial.drain(..=end).collect();
            let line = shown(&line);
            if plain {
                out.push_str(&format!("#{n} {:.3} {line}\n", step.began.elapsed().as_secs_f64()));
            }
            step.lines.push(line);
            if step.lines.len() > FAILED_TAIL {
                step.lines.remove(0);
            }
        }
        out
    }

    fn pull(&mut self, n: usize, id: &str, status: &str, current: Option<u64>, total: Option<u64>) -> String {
        let plain = self.style == Style::Plain;
        let n = self.several.number(n);
        let Some(step) = self.running.get_mut(&n) else { return String::new() };
        let size = |b: u64| crate::format::units::human_size_with(b as f64, 3);
        let amount = match (current, total) {
            (Some(c), Some(t)) => format!(" {}/{}", size(c), size(t)),
            (Some(c), None) => format!(" {}", size(c)),
            _ => String::new(),
        };
        let line =
            if id.is_empty() { format!("{status}{amount}") } else { format!("{id}: {status}{amount}") };
        let said = current.is_none() && plain;
        step.pulls.insert(id.to_owned(), line.clone());
        if said { format!("#{n} {line}\n") } else { String::new() }
    }

    fn end(&mut self, n: usize, millis: u64, cached: bool) -> String {
        let n = self.several.number(n);
        let Some(step) = self.running.remove(&n) else { return String::new() };
        self.done += 1;
        let time = seconds(Duration::from_millis(millis));
        if self.style == Style::Plain {
            let rest = if step.partial.is_empty() {
                String::new()
            } else {
                format!("#{n} {}\n", shown(&step.partial))
            };
            let word = if cached { "CACHED".to_owned() } else { format!("DONE {time}") };
            return format!("{rest}#{n} {word}\n\n");
        }
        let title = if cached { format!("CACHED {}", step.title) } else { step.title };
        let line = self.line("=>", &title, &time);
        self.lasting(&self.coloured("\x1b[34m", &line))
    }

    fn fail(&mut self, n: usize, millis: u64, excerpt: &str) -> String {
        let n = self.several.number(n);
        let Some(mut step) = self.running.remove(&n) else { return self.lasting(excerpt) };
        if !step.partial.is_empty() {
            let rest = std::mem::take(&mut step.partial);
            step.lines.push(shown(&rest));
        }
        let time = seconds(Duration::from_millis(millis));
        if self.style == Style::Plain {
            return format!("#{n} ERROR {time}\n\n{excerpt}");
        }
        let mut text = self.coloured("\x1b[31m", &self.line("=> ERROR", &step.title, &time));
        if !step.lines.is_empty() {
            text.push_str("------\n");
            for line in &step.lines {
                text.push_str(&format!("{line}\n"));
            }
            text.push_str("------\n");
        }
        text.push_str(excerpt);
        self.lasting(&text)
    }

    /// An output, told when it begins where lines stay, and when it has ended.
    fn export(&mut self, name: &str, millis: Option<u64>) -> String {
        match (self.style, millis) {
            (Style::Plain, None) => format!("=> {name}\n"),
            (Style::Plain, Some(millis)) => {
                format!("=> {name} DONE {}\n", seconds(Duration::from_millis(millis)))
            }
            (_, None) => String::new(),
            (_, Some(millis)) => {
                let line = self.line("=>", name, &seconds(Duration::from_millis(millis)));
                self.lasting(&self.coloured("\x1b[34m", &line))
            }
        }
    }

    fn coloured(&self, colour: &str, line: &str) -> String {
        match self.style {
            Style::Live { coloured: true } => format!("{colour}{}\x1b[0m\n", line.trim_end_matches('\n')),
            _ => line.to_owned(),
        }
    }

    /// A line with the time at its right end.
    fn line(&self, mark: &str, title: &str, time: &str) -> String {
        let room = self.width.saturating_sub(mark.len() + time.len() + 4);
        if room < 8 {
            // There is no room for the time.
            return format!("{}\n", ellipsis(&format!(" {mark} {title}"), self.width.max(1)));
        }
        let title = ellipsis(title, room);
        let used: usize = title.chars().map(columns).sum();
        format!(" {mark} {title}{} {time}\n", " ".repeat(room.saturating_sub(used)))
    }

    /// Text that stays above what is redrawn.
    fn lasting(&mut self, text: &str) -> String {
        let clear = self.clear();
        format!("{clear}{text}")
    }

    /// Takes away what was drawn last.
    fn clear(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        }
    }

    /// The running steps, drawn over the last frame.
    pub fn frame(&mut self) -> String {
        if self.style == Style::Plain {
            return String::new();
        }
        let mut lines = Vec::new();
        if self.total > 0 {
            let time = seconds(self.began.elapsed());
            let head = format!("[+] Building {time} ({}/{})", self.done, self.total);
            lines.push(format!("{}\n", ellipsis(&head, self.width.max(1))));
        }
        for step in self.running.values() {
            lines.push(self.line("=>", &step.title, &seconds(step.began.elapsed())));
            let pulls = step.pulls.values().map(String::as_str);
            let partial = Some(step.partial.as_str()).filter(|p| !p.is_empty());
            let all: Vec<&str> = pulls.chain(step.lines.iter().map(String::as_str)).chain(partial).collect();
            for line in &all[all.len().saturating_sub(TAIL)..] {
                let line = format!("    | {}", shown(line));
                lines.push(format!("{}\n", ellipsis(&line, self.width.saturating_sub(2).max(1))));
            }
        }
        // The latest of what there is no room for.
        let room = self.height.saturating_sub(1).max(1);
        lines.drain(..lines.len().saturating_sub(room));
        let mut out = self.clear();
        self.drawn = lines.len();
        out.extend(lines);
        out
    }

    /// Takes the running steps away, at the end, and tells what is unwise in the Dockerfile.
    pub fn finish(&mut self) -> String {
        let mut out = self.clear();
        let warnings = std::mem::take(&mut self.warnings);
        if !warnings.is_empty() {
            let plural = if warnings.len() == 1 { "" } else { "s" };
            out.push_str(&format!("\n{} warning{plural} found:\n", warnings.len()));
            warnings.iter().for_each(|warning| out.push_str(&format!("\n{warning}")));
        }
        out
    }
}

/// A line as it may be shown: what a carriage return wrote over is gone, control characters too.
pub fn shown(line: &str) -> String {
    let line = line.trim_end_matches(['\n', '\r']);
    let last = line.rsplit('\r').next().unwrap_or(line);
    last.chars().filter(|c| !c.is_control() || *c == '\t').collect::<String>().replace('\t', "    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(n: usize, text: &str) -> BuildEvent {
        BuildEvent::Step { n, total: 2, text: text.into(), stage: "0".into() }
    }

    #[test]
    fn plain_lines_have_number_and_time() {
        let mut d = Display::new(Style::Plain, 80);
        assert_eq!(d.event(step(1, "FROM x")), "#1 [1/2] FROM x\n");
        let done = BuildEvent::StepDone { n: 1, id: String::new(), millis: 30, cached: true };
        assert_eq!(d.event(done), "#1 CACHED\n\n");
        d.event(step(2, "RUN make"));
        let text = d.event(BuildEvent::Output { n: 2, stream: "stdout".into(), text: "a\nb".into() });
        assert!(text.starts_with("#2 0.") && text.ends_with(" a\n"), "{text}");
        let done = BuildEvent::StepDone { n: 2, id: String::new(), millis: 1500, cached: false };
        assert_eq!(d.event(done), "#2 b\n#2 DONE 1.5s\n\n");
    }

    #[test]
    fn live_frames_are_drawn_over() {
        let mut d = Display::new(Style::Live { coloured: false }, 40);
        assert_eq!(d.event(step(1, "RUN a very long command that does not fit")), "");
        let first = d.frame();
        assert_eq!(first.lines().count(), 2);
        assert!(first.lines().all(|l| l.chars().count() <= 40), "{first}");
        d.event(BuildEvent::Output {
            n: 1,
            stream: "stdout".into(),
            text: "50%\r100%\n\x1b[31mred\n".into(),
        });
        let second = d.frame();
        assert!(second.starts_with("\x1b[2A\r\x1b[J"), "{second:?}");
        assert!(second.contains("    | 100%\n") && second.contains("    | [31mred\n"), "{second:?}");
        let end = d.event(BuildEvent::StepDone { n: 1, id: String::new(), millis: 10, cached: true });
        assert!(end.starts_with("\x1b[4A\r\x1b[J => CACHED [1/2] RUN a very"), "{end:?}");
    }

    #[test]
    fn several_builds_are_numbered_through_and_have_their_names() {
        let mut d = Display::new(Style::Plain, 80);
        assert_eq!(d.event_of("app", step(1, "FROM x")), "#1 [app 1/2] FROM x\n");
        assert_eq!(d.event_of("web", step(1, "FROM y")), "#2 [web 1/2] FROM y\n");
        let done = |n| BuildEvent::StepDone { n, id: String::new(), millis: 30, cached: true };
        assert_eq!(d.event_of("web", done(1)), "#2 CACHED\n\n");
        assert_eq!(d.event_of("app", done(1)), "#1 CACHED\n\n");
        let named = BuildEvent::Step { n: 2, total: 2, text: "RUN make".into(), stage: "build".into() };
        assert_eq!(d.event_of("app", named), "#3 [app build 2/2] RUN make\n");
        let tagged = BuildEvent::Tagged { reference: "a:b".into() };
        assert_eq!(d.event_of("app", tagged), "[app] Successfully tagged a:b\n");
    }

    #[test]
    fn warnings_are_told_at_the_end() {
        let mut d = Display::new(Style::Plain, 80);
        let check = |rule: &str, url: &str| BuildEvent::Check {
            rule: rule.into(),
            description: String::new(),
            url: url.into(),
            detail: "what".into(),
            lines: (1, 1),
            excerpt: "Dockerfile:1\n".into(),
        };
        assert_eq!(d.finish(), "");
        assert_eq!(d.event(check("A", "")), "");
        d.event(check("B", "http://b"));
        assert_eq!(
            d.finish(),
            "\n2 warnings found:\n\nWARNING: A\nwhat\nDockerfile:1\n\nWARNING: B - http://b\nwhat\nDockerfile:1\n"
        );
    }

    #[test]
    fn a_frame_fits_the_terminal_however_small() {
        for (width, height) in [(12, 5), (1, 2), (20, 3), (7, 24)] {
            let mut d = Display::new(Style::Live { coloured: false }, 80);
            d.event(BuildEvent::Plan { total: 9 });
            for n in 1..6 {
                d.event(step(n, "RUN \u{1b}[2Jsomething of some length"));
                let text = "output of it\n".repeat(8);
                d.event(BuildEvent::Output { n, stream: "stdout".into(), text });
            }
            d.resize(width, height);
            let frame = d.frame();
            let lines: Vec<&str> = frame.lines().collect();
            assert!(lines.len() < height.max(3), "{width}x{height}: {frame}");
            let wide = |line: &&str| line.chars().map(columns).sum::<usize>() > width;
            assert!(!lines.iter().any(wide) && !frame.contains('\u{1b}'), "{width}x{height}: {frame:?}");
        }
    }

    #[test]
    fn a_failed_step_shows_its_last_lines() {
        let mut d = Display::new(Style::Live { coloured: false }, 60);
        d.event(step(1, "RUN false"));
        d.event(BuildEvent::Output { n: 1, stream: "stderr".into(), text: "boom\n".into() });
        let excerpt = "Dockerfile:1\n".to_owned();
        let text = d.event(BuildEvent::StepFailed { n: 1, millis: 5, error: "x".into(), excerpt });
        assert!(text.ends_with("------\nDockerfile:1\n"), "{text}");
        assert!(
            text.contains("=> ERROR [1/2] RUN false") && text.contains("------\nboom\n------\n"),
            "{text}"
        );
    }
}
