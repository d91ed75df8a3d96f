//! What a client was shown of a build, kept: without secrets, without the counts in between, and bounded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::spans::{self, Span};
use dray_buildkit::log::framed;
use dray_buildkit::proto::control::{StatusResponse, Vertex, VertexLog};
use dray_engine::build::Recording;
use dray_engine::build::history::record::Counts;

/// What is kept of a step's output.
const MOST_OF_STEP: usize = 2 << 20;
/// And of all.
const MOST: usize = 16 << 20;
/// The end of an output that is not kept to its end.
const CLIPPED: &str = "[output clipped, log limit 2MiB reached]\n";

/// The log of a build.
pub(in crate::buildkit) struct BuildLog {
    recording: Arc<Recording>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    vertexes: HashMap<String, Seen>,
    warnings: i32,
    bytes: usize,
    begun: HashSet<(String, String)>,
    /// Lines that have not ended, by vertex and stream: a secret may be cut in two.
    held: BTreeMap<(String, i64), VertexLog>,
}

#[derive(Default)]
struct Seen {
    span: Span,
    printed: usize,
}

impl BuildLog {
    pub(super) fn new(recording: Arc<Recording>) -> Self {
        BuildLog { recording, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is worth it of a message.
    pub(in crate::buildkit) fn take(&self, message: &StatusResponse) {
        let mut state = self.state();
        let mut kept = StatusResponse::default();
        for log in &message.logs {
            kept.logs.extend(self.lines(&mut state, log));
        }
        for vertex in &message.vertexes {
            kept.logs.extend(self.seen(&mut state, vertex));
            kept.vertexes.push(self.without_secrets(vertex));
        }
        let full = state.bytes > MOST;
        for status in message.statuses.iter().filter(|_| !full) {
            let first = state.begun.insert((status.vertex.clone(), status.id.clone()));
            if first || status.completed.is_some() {
                kept.statuses.push(status.clone());
            }
        }
        state.warnings += i32::try_from(message.warnings.len()).unwrap_or(i32::MAX);
        if full {
            kept.logs.clear();
        } else {
            kept.warnings.clone_from(&message.warnings);
        }
        self.write(&mut state, &kept);
    }

    /// Notes what became of a vertex; at its end, what it had printed of a last line is due.
    fn seen(&self, state: &mut State, vertex: &Vertex) -> Vec<VertexLog> {
        let shown = self.without_secrets(vertex);
        state.vertexes.entry(vertex.digest.clone()).or_default().span.see(&shown);
        match vertex.completed {
            Some(_) => self.rest(state, Some(&vertex.digest)),
            None => Vec::new(),
        }
    }

    fn without_secrets(&self, vertex: &Vertex) -> Vertex {
        let mask = self.recording.mask();
        Vertex { error: mask.hide(&vertex.error), name: mask.hide(&vertex.name), ..vertex.clone() }
    }

    /// The whole lines of an output, without secrets.
    fn lines(&self, state: &mut State, log: &VertexLog) -> Option<VertexLog> {
        let seen = state.vertexes.entry(log.vertex.clone()).or_default();
        if seen.printed > MOST_OF_STEP {
            return None;
        }
        seen.printed += log.msg.len();
        let mut log = log.clone();
        if seen.printed > MOST_OF_STEP {
            log.msg = CLIPPED.into();
        }
        let mask = self.recording.mask();
        if mask.is_empty() {
            return Some(log);
        }
        let key = (log.vertex.clone(), log.stream);
        if let Some(mut before) = state.held.remove(&key) {
            before.msg.append(&mut log.msg);
            log.msg = before.msg;
        }
        let whole = log.msg.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let rest = log.msg.split_off(whole);
        if !rest.is_empty() {
            state.held.insert(key, VertexLog { msg: rest, ..log.clone() });
        }
        log.msg = mask.hide(&String::from_utf8_lossy(&log.msg)).into_bytes();
        Some(log).filter(|log| !log.msg.is_empty())
    }

    /// Lines that did not end, of one vertex or of all.
    fn rest(&self, state: &mut State, of: Option<&str>) -> Vec<VertexLog> {
        let keys: Vec<_> =
            state.held.keys().filter(|(vertex, _)| of.is_none_or(|of| of == vertex)).cloned().collect();
        let mask = self.recording.mask();
        let mut rest = Vec::new();
        for mut log in keys.iter().filter_map(|key| state.held.remove(key)) {
            log.msg = mask.hide(&String::from_utf8_lossy(&log.msg)).into_bytes();
            rest.push(log);
        }
        rest
    }

    fn write(&self, state: &mut State, message: &StatusResponse) {
        let bytes = framed(message);
        state.bytes += bytes.len();
        self.recording.write(&bytes);
    }

    /// The end: what is left is written; gives what was counted, and the trace.
    pub(super) fn end(&self) -> (Counts, Vec<u8>) {
        let mut state = self.state();
        let logs = self.rest(&mut state, None);
        self.write(&mut state, &StatusResponse { logs, ..StatusResponse::default() });
        let count = |fits: &dyn Fn(&Seen) -> bool| {
            i32::try_from(state.vertexes.values().filter(|seen| fits(seen)).count()).unwrap_or(i32::MAX)
        };
        let counts = Counts {
            total: count(&|_| true),
            completed: count(&|seen| seen.span.completed.is_some()),
            cached: count(&|seen| seen.span.cached),
            warnings: state.warnings,
        };
        let spans = spans::encoded(self.recording.id(), state.vertexes.values().map(|seen| &seen.span));
        (counts, spans)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use dray_buildkit::log::next_message;
    use dray_buildkit::proto::Timestamp;
    use dray_buildkit::proto::control::VertexStatus;
    use dray_engine::build::History;
    use dray_engine::build::history::record::BuildRecord;

    use super::*;

    fn logged(work: impl FnOnce(&Recording, &BuildLog)) -> (Vec<StatusResponse>, Counts) {
        let dir = tempfile::tempdir().expect("a folder");
        let history = History::open(dray_store::Store::open(dir.path()).expect("a store"));
        let recording =
            history.begin(BuildRecord { id: "b".into(), ..BuildRecord::default() }, Default::default());
        let log = BuildLog::new(Arc::clone(&recording));
        work(&recording, &log);
        let (counts, _) = log.end();
        let mut bytes = Vec::new();
        history.log("b").expect("a log").read_to_end(&mut bytes).expect("read");
        let mut rest = bytes.as_slice();
        let messages = std::iter::from_fn(|| next_message(&mut rest)).collect();
        assert!(rest.is_empty(), "whole messages");
        (messages, counts)
    }

    fn printed(text: &str) -> StatusResponse {
        let log = VertexLog { vertex: "v".into(), stream: 1, msg: text.into(), timestamp: None };
        StatusResponse { logs: vec![log], ..StatusResponse::default() }
    }

    fn ended(error: &str) -> StatusResponse {
        let now = Some(Timestamp::now());
        let vertex = Vertex {
            digest: "v".into(),
            started: now,
            completed: now,
            error: error.into(),
            cached: error.is_empty(),
            ..Vertex::default()
        };
        StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }
    }

    fn text(messages: &[StatusResponse]) -> String {
        let logs = messages.iter().flat_map(|message| &message.logs);
        logs.map(|log| String::from_utf8_lossy(&log.msg).into_owned()).collect()
    }

    #[test]
    fn a_secret_is_hidden_also_where_it_comes_in_pieces() {
        let (messages, counts) = logged(|recording, log| {
            log.take(&printed("before "));
            recording.mask().add(b"hunter2");
            log.take(&printed("a hun"));
            log.take(&printed("ter2 b\nhunter"));
            log.take(&printed("2"));
            log.take(&ended("it said hunter2"));
        });
        assert_eq!(text(&messages), "before a *** b\n***");
        let errors: Vec<_> = messages.iter().flat_map(|message| &message.vertexes).collect();
        assert_eq!(errors[0].error, "it said ***");
        assert_eq!(counts, Counts { total: 1, completed: 1, cached: 0, warnings: 0 });
    }

    #[test]
    fn an_output_without_end_is_clipped_and_counts_in_between_are_left_out() {
        let (messages, counts) = logged(|_, log| {
            for current in 0..100 {
                let completed = (current == 99).then(Timestamp::now);
                let (vertex, id) = ("v".into(), "layer".into());
                let status = VertexStatus { vertex, id, current, completed, ..VertexStatus::default() };
                log.take(&StatusResponse { statuses: vec![status], ..StatusResponse::default() });
            }
            for _ in 0..40 {
                log.take(&printed(&"x".repeat(1 << 16)));
            }
            log.take(&ended(""));
        });
        let text = text(&messages);
        assert_eq!(text.len(), MOST_OF_STEP + CLIPPED.len());
        assert!(text.ends_with(CLIPPED));
        assert_eq!(messages.iter().map(|message| message.statuses.len()).sum::<usize>(), 2);
        assert_eq!(counts, Counts { total: 1, completed: 1, cached: 1, warnings: 0 });
    }
}
