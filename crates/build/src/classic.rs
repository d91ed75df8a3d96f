//! The text stream of Docker's classic builder (`Step 1/3 : FROM x`, ` ---> 0123456789ab`, …) from events.
//!
//! Stages run at the same time, but the text has them one after the other, as Docker has: what a later step says
//! waits until the steps before it are done.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::event::{BuildEvent, BuildEvents};
use crate::run::OutputStream;

/// Turns events into text.
pub struct ClassicText<W> {
    write: W,
    /// `rm`: intermediate containers are removed after a successful step, and the text says so.
    remove: bool,
    state: Mutex<State>,
}

struct State {
    /// The step whose events are written as they come.
    current: usize,
    /// Events of later steps.
    waiting: BTreeMap<usize, Vec<BuildEvent>>,
}

/// A piece of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text: a `stream` message.
    Text(String),
    /// Progress of a pull: a `status` message with the same fields.
    Pull {
        /// Layer or tag.
        id: String,
        /// Docker's word.
        status: String,
        /// Bytes done.
        current: Option<u64>,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// The image's id: an `aux` message `{"ID": …}`.
    Image(String),
}

impl<W: Fn(Piece) + Send + Sync> ClassicText<W> {
    /// A stream that gives its pieces to `write`.
    pub fn new(remove: bool, write: W) -> Self {
        ClassicText { write, remove, state: Mutex::new(State { current: 1, waiting: BTreeMap::new() }) }
    }

    fn text(&self, text: String) {
        (self.write)(Piece::Text(text));
    }

    fn write_event(&self, event: BuildEvent) {
        match event {
            BuildEvent::Step { n, total, text, .. } => self.text(format!("Step {n}/{total} : {text}\n")),
            BuildEvent::CacheHit { .. } => self.text(" ---> Using cache\n".to_owned()),
            BuildEvent::Running { container, .. } => self.text(format!(" ---> Running in {container}\n")),
            BuildEvent::Removed { container, .. } if self.remove => {
                self.text(format!(" ---> Removed intermediate container {container}\n"));
            }
            BuildEvent::Output { stream: OutputStream::Stdout, text, .. } => self.text(text),
            BuildEvent::Output { stream: OutputStream::Stderr, text, .. } => {
                self.text(format!("\u{1b}[91m{text}\u{1b}[0m"));
            }
            BuildEvent::Pull { id, status, current, total, .. } => {
                (self.write)(Piece::Pull { id, status, current, total });
            }
            BuildEvent::StepDone { id: Some(id), .. } => self.text(format!(" ---> {id}\n")),
            _ => {}
        }
    }

    /// Writes the events of a step now or when its turn comes.
    fn step_event(&self, n: usize, event: BuildEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if n > state.current {
            state.waiting.entry(n).or_default().push(event);
            return;
        }
        let mut done = matches!(event, BuildEvent::StepDone { .. });
        self.write_event(event);
        while done {
            state.current += 1;
            let current = state.current;
            done = false;
            for event in state.waiting.remove(&current).unwrap_or_default() {
                done |= matches!(event, BuildEvent::StepDone { .. });
                self.write_event(event);
            }
        }
    }

    /// Writes what the failed step had to say, if its turn had not come: the last words before the error.
    fn step_failed(&self, n: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for event in state.waiting.remove(&n).unwrap_or_default() {
            self.write_event(event);
        }
    }
}

impl<W: Fn(Piece) + Send + Sync> BuildEvents for ClassicText<W> {
    fn event(&self, event: BuildEvent) {
        match &event {
            BuildEvent::Step { n, .. }
            | BuildEvent::CacheHit { n }
            | BuildEvent::Running { n, .. }
            | BuildEvent::Removed { n, .. }
            | BuildEvent::Output { n, .. }
            | BuildEvent::Pull { n, .. }
            | BuildEvent::StepDone { n, .. } => self.step_event(*n, event),
            BuildEvent::StepFailed { n, .. } => self.step_failed(*n),
            // The classic builder does not check.
            BuildEvent::Plan { .. } | BuildEvent::Check { .. } => {}
            BuildEvent::Export { name, millis: None } => self.text(format!("{name}\n")),
            BuildEvent::Export { .. } => {}
            BuildEvent::Warning { message } => self.text(format!("[Warning] {message}\n")),
            BuildEvent::Built { id } => {
                (self.write)(Piece::Image(id.clone()));
                let hex = id.strip_prefix("sha256:").unwrap_or(id);
                self.text(format!("Successfully built {}\n", &hex[..hex.len().min(12)]));
            }
            BuildEvent::Tagged { reference } => self.text(format!("Successfully tagged {reference}\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(n: usize) -> BuildEvent {
        BuildEvent::Step { n, total: 3, text: format!("RUN {n}"), stage: "0".into() }
    }

    fn done(n: usize) -> BuildEvent {
        BuildEvent::StepDone { n, id: Some(format!("id{n}")), millis: 1, cached: false }
    }

    #[test]
    fn steps_appear_in_order_however_they_run() {
        let text = Mutex::new(String::new());
        let classic = ClassicText::new(true, |piece| {
            if let Piece::Text(piece) = piece {
                text.lock().expect("lock").push_str(&piece);
            }
        });
        let output = |n, stream| BuildEvent::Output { n, stream, text: format!("out{n}\n") };
        for event in [
            step(2),
            step(1),
            output(2, OutputStream::Stderr),
            done(2),
            step(3),
            BuildEvent::CacheHit { n: 3 },
            done(3),
            BuildEvent::Running { n: 1, container: "c1".into() },
            BuildEvent::Removed { n: 1, container: "c1".into() },
            done(1),
            BuildEvent::Built { id: "sha256:0123456789abcdef".into() },
            BuildEvent::Tagged { reference: "a:b".into() },
        ] {
            classic.event(event);
        }
        assert_eq!(
            text.into_inner().expect("lock"),
            "Step 1/3 : RUN 1\n ---> Running in c1\n ---> Removed intermediate container c1\n ---> id1\n\
             Step 2/3 : RUN 2\n\u{1b}[91mout2\n\u{1b}[0m ---> id2\n\
             Step 3/3 : RUN 3\n ---> Using cache\n ---> id3\n\
             Successfully built 0123456789ab\nSuccessfully tagged a:b\n"
        );
    }

    #[test]
    fn a_failed_step_is_heard_before_its_turn() {
        let text = Mutex::new(String::new());
        let classic = ClassicText::new(true, |piece| {
            if let Piece::Text(piece) = piece {
                text.lock().expect("lock").push_str(&piece);
            }
        });
        classic.event(step(1));
        classic.event(step(2));
        classic.event(BuildEvent::StepFailed { n: 2, millis: 1, error: "x".into(), excerpt: String::new() });
        assert_eq!(text.into_inner().expect("lock"), "Step 1/3 : RUN 1\nStep 2/3 : RUN 2\n");
    }
}
