//! What a build has told, as BuildKit's clients print it: plain lines, or a line of JSON for each message.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_buildkit::proto::Timestamp;
use dray_buildkit::proto::control::{StatusResponse, Vertex, VertexLog, VertexStatus};
use serde_json::{Map, Value};

use super::shown;
use crate::format::units::human_size_with;

/// Prints messages as plain lines: each vertex has a number, and its lines stand together.
#[derive(Debug, Default)]
pub struct Plain {
    vertexes: HashMap<String, Seen>,
    /// The vertex whose lines were printed last.
    last: Option<usize>,
}

#[derive(Debug, Default)]
struct Seen {
    number: usize,
    begun: Option<Timestamp>,
    ended: bool,
    /// The beginning of a line, by stream.
    partial: HashMap<i64, String>,
}

impl Plain {
    /// The lines of a message.
    pub fn message(&mut self, message: &StatusResponse) -> String {
        let mut text = String::new();
        for vertex in &message.vertexes {
            // An end comes with the message's output, after it.
            if vertex.completed.is_none() {
                self.vertex(vertex, &mut text);
            }
        }
        message.statuses.iter().for_each(|status| self.status(status, &mut text));
        message.logs.iter().for_each(|log| self.log(log, &mut text));
        for vertex in message.vertexes.iter().filter(|vertex| vertex.completed.is_some()) {
            self.vertex(vertex, &mut text);
        }
        for warning in &message.warnings {
            text.push_str(&format!("WARN: {}\n", shown(&String::from_utf8_lossy(&warning.short))));
        }
        text
    }

    fn seen(&mut self, digest: &str) -> (&mut Seen, bool) {
        let next = self.vertexes.len() + 1;
        let mut new = false;
        let seen = self.vertexes.entry(digest.to_owned()).or_insert_with(|| {
            new = true;
            Seen { number: next, ..Seen::default() }
        });
        (seen, new)
    }

    /// A line between the vertexes.
    fn turn(&mut self, number: usize, text: &mut String) {
        if self.last.is_some_and(|last| last != number) {
            text.push('\n');
        }
        self.last = Some(number);
    }

    fn vertex(&mut self, vertex: &Vertex, text: &mut String) {
        let (seen, new) = self.seen(&vertex.digest);
        let (number, begun) = (seen.number, vertex.started.or(seen.begun));
        seen.begun = begun;
        let ended = std::mem::replace(&mut seen.ended, vertex.completed.is_some());
        let rest: Vec<String> = seen.partial.drain().map(|(_, rest)| rest).collect();
        if new {
            self.turn(number, text);
            text.push_str(&format!("#{number} {}\n", shown(&vertex.name)));
        }
        let Some(completed) = vertex.completed.filter(|_| !ended) else { return };
        self.turn(number, text);
        for line in rest.iter().filter(|line| !line.is_empty()) {
            text.push_str(&format!("#{number} {}\n", shown(line)));
        }
        let took = begun.map_or(0.0, |begun| seconds(begun, completed));
        text.push_str(&match (vertex.cached, vertex.error.as_str()) {
            (true, _) => format!("#{number} CACHED\n"),
            (_, "") => format!("#{number} DONE {took:.1}s\n"),
            (_, error) if error.contains("context canceled") => format!("#{number} CANCELED\n"),
            (_, error) => format!("#{number} ERROR: {}\n", shown(error)),
        });
    }

    fn status(&mut self, status: &VertexStatus, text: &mut String) {
        let number = self.seen(&status.vertex).0.number;
        self.turn(number, text);
        let size = |bytes: i64| human_size_with(bytes as f64, 3);
        let amount = match (status.current, status.total) {
            (0, 0) => String::new(),
            (current, 0) => format!(" {}", size(current)),
            (current, total) => format!(" {} / {}", size(current), size(total)),
        };
        let done = match (status.started, status.completed) {
            (Some(begun), Some(completed)) => format!(" {:.1}s done", seconds(begun, completed)),
            (_, Some(_)) => " done".to_owned(),
            _ => String::new(),
        };
        let id = if status.name.is_empty() { &status.id } else { &status.name };
        text.push_str(&format!("#{number} {}{amount}{done}\n", shown(id)));
    }

    fn log(&mut self, log: &VertexLog, text: &mut String) {
        let (seen, _) = self.seen(&log.vertex);
        let (number, begun) = (seen.number, seen.begun);
        let mut lines = seen.partial.remove(&log.stream).unwrap_or_default();
        lines.push_str(&String::from_utf8_lossy(&log.msg));
        let rest = lines.split_off(lines.rfind('\n').map_or(0, |end| end + 1));
        if !rest.is_empty() {
            seen.partial.insert(log.stream, rest);
        }
        if lines.is_empty() {
            return;
        }
        self.turn(number, text);
        let at = begun.zip(log.timestamp).map_or(0.0, |(begun, now)| seconds(begun, now));
        for line in lines.lines() {
            text.push_str(&format!("#{number} {at:.3} {}\n", shown(line)));
        }
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    let nanos = i64::from(to.nanos) - i64::from(from.nanos);
    ((to.seconds - from.seconds) as f64 + nanos as f64 / 1e9).max(0.0)
}

/// A message as a line of JSON, in the shape of BuildKit's `SolveStatus`.
pub fn json(message: &StatusResponse) -> String {
    let mut all = Map::new();
    let mut add = |name: &str, values: Vec<Value>| {
        if !values.is_empty() {
            all.insert(name.to_owned(), values.into());
        }
    };
    add("vertexes", message.vertexes.iter().map(vertex).collect());
    add("statuses", message.statuses.iter().map(status).collect());
    add("logs", message.logs.iter().map(log).collect());
    add("warnings", message.warnings.iter().map(warning).collect());
    if all.is_empty() { String::new() } else { Value::Object(all).to_string() + "\n" }
}

fn object(fields: Vec<(&str, Option<Value>)>) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}

fn time(time: Option<Timestamp>) -> Option<Value> {
    let time = time?;
    jiff::Timestamp::new(time.seconds, time.nanos).ok().map(|time| time.to_string().into())
}

fn text(text: &str) -> Option<Value> {
    Some(text).filter(|text| !text.is_empty()).map(Into::into)
}

fn vertex(vertex: &Vertex) -> Value {
    object(vec![
        ("digest", text(&vertex.digest)),
        ("name", text(&vertex.name)),
        ("started", time(vertex.started)),
        ("completed", time(vertex.completed)),
        ("cached", vertex.cached.then(|| true.into())),
        ("error", text(&vertex.error)),
    ])
}

fn status(status: &VertexStatus) -> Value {
    object(vec![
        ("id", text(&status.id)),
        ("vertex", text(&status.vertex)),
        ("name", text(&status.name)),
        ("total", Some(status.total).filter(|total| *total != 0).map(Into::into)),
        ("current", Some(status.current.into())),
        ("timestamp", time(status.timestamp)),
        ("started", time(status.started)),
        ("completed", time(status.completed)),
    ])
}

fn log(log: &VertexLog) -> Value {
    object(vec![
        ("vertex", text(&log.vertex)),
        ("stream", Some(log.stream.into())),
        ("data", Some(STANDARD.encode(&log.msg).into())),
        ("timestamp", time(log.timestamp)),
    ])
}

fn warning(warning: &dray_buildkit::proto::control::VertexWarning) -> Value {
    object(vec![
        ("vertex", text(&warning.vertex)),
        ("level", Some(warning.level.into())),
        ("short", Some(STANDARD.encode(&warning.short).into())),
        ("url", text(&warning.url)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn of(vertex: Vertex) -> StatusResponse {
        StatusResponse { vertexes: vec![vertex], ..StatusResponse::default() }
    }

    fn printed(vertex: &str, text: &str, seconds: i64) -> StatusResponse {
        let log = VertexLog { vertex: vertex.into(), timestamp: at(seconds), stream: 1, msg: text.into() };
        StatusResponse { logs: vec![log], ..StatusResponse::default() }
    }

    #[test]
    fn the_lines_of_a_vertex_stand_together() {
        let mut plain = Plain::default();
        let vertex = |name: &str| Vertex {
            digest: name.into(),
            name: format!("RUN {name}"),
            started: at(10),
            ..Vertex::default()
        };
        let mut text = plain.message(&of(vertex("a")));
        text += &plain.message(&printed("a", "one\ntw", 11));
        text += &plain.message(&of(Vertex { cached: true, completed: at(10), ..vertex("b") }));
        text += &plain.message(&printed("a", "o\nrest", 12));
        let failed = Vertex { completed: at(13), error: "exit 1".into(), ..vertex("a") };
        text += &plain.message(&of(failed.clone()));
        text += &plain.message(&of(failed));
        let expected =
            "#1 RUN a\n#1 1.000 one\n\n#2 RUN b\n#2 CACHED\n\n#1 2.000 two\n#1 rest\n#1 ERROR: exit 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_is_buildkit_s() {
        let line = json(&of(Vertex { digest: "d".into(), started: at(0), ..Vertex::default() }));
        assert_eq!(line, "{\"vertexes\":[{\"digest\":\"d\",\"started\":\"1970-01-01T00:00:00Z\"}]}\n");
        assert!(json(&printed("d", "x", 0)).contains("\"data\":\"eA==\""));
        assert_eq!(json(&StatusResponse::default()), "");
    }
}
