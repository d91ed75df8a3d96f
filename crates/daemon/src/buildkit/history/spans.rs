//! The steps of a build as OpenTelemetry's spans, a JSON object each, as BuildKit keeps them: what
//! `docker buildx history trace` reads.

use dray_buildkit::proto::Timestamp;
use dray_buildkit::proto::control::Vertex;
use dray_spec::Digest;
use serde_json::{Value, json};

/// The name of the span that all others are in.
const BUILD: &str = "build";
/// A span within the program itself.
const INTERNAL: i32 = 1;

/// What is known of a vertex.
#[derive(Default)]
pub(super) struct Span {
    digest: String,
    name: String,
    error: String,
    started: Option<Timestamp>,
    pub(super) completed: Option<Timestamp>,
    pub(super) cached: bool,
}

impl Span {
    /// Takes in what a message says of the vertex.
    pub(super) fn see(&mut self, vertex: &Vertex) {
        self.digest.clone_from(&vertex.digest);
        self.name.clone_from(&vertex.name);
        self.error.clone_from(&vertex.error);
        self.started = self.started.or(vertex.started);
        self.completed = vertex.completed.or(self.completed);
        self.cached |= vertex.cached;
    }

    fn times(&self) -> Option<(Timestamp, Timestamp)> {
        let started = self.started?;
        Some((started, self.completed.unwrap_or(started)))
    }
}

/// The spans of a build: one for all of it, and one for each vertex that began.
pub(super) fn encoded<'a>(build: &str, spans: impl Iterator<Item = &'a Span>) -> Vec<u8> {
    let mut begun: Vec<(&Span, (Timestamp, Timestamp))> =
        spans.filter_map(|span| Some((span, span.times()?))).collect();
    let order = |time: &Timestamp| (time.seconds, time.nanos);
    begun.sort_by_key(|(span, (started, _))| (order(started), span.name.clone()));
    let Some((_, (first, _))) = begun.first().copied() else { return Vec::new() };
    let last = begun.iter().map(|(_, (_, completed))| *completed).max_by_key(order).unwrap_or(first);
    let trace = hex(build, 32);
    let root = hex(&format!("{build} {BUILD}"), 16);
    let context = |span: &str| json!({"TraceID": trace, "SpanID": span, "TraceFlags": "01", "TraceState": "", "Remote": false});
    let span = |name: &str, id: &str, parent: &str, (started, completed), attributes: Value, error: &str| {
        json!({
            "Name": name,
            "SpanContext": context(id),
            "Parent": context(parent),
            "SpanKind": INTERNAL,
            "StartTime": text(started),
            "EndTime": text(completed),
            "Attributes": attributes,
            "Events": null,
            "Links": null,
            "Status": if error.is_empty() { json!({"Code": "Unset", "Description": ""}) }
                else { json!({"Code": "Error", "Description": error}) },
            "DroppedAttributes": 0,
            "DroppedEvents": 0,
            "DroppedLinks": 0,
            "ChildSpanCount": 0,
            "Resource": [attribute("service.name", "STRING", &json!("dray"))],
            "InstrumentationLibrary": {"Name": "", "Version": "", "SchemaURL": ""},
        })
    };
    let nobody = "0".repeat(16);
    let mut bytes = Vec::new();
    let mut add = |span: Value| {
        bytes.extend_from_slice(span.to_string().as_bytes());
        bytes.push(b'\n');
    };
    add(span(BUILD, &root, &nobody, (first, last), json!([]), ""));
    for (of, times) in begun {
        let attributes = json!([
            attribute("vertex", "STRING", &json!(of.digest)),
            attribute("cached", "BOOL", &json!(of.cached)),
        ]);
        let id = hex(&format!("{build} {}", of.digest), 16);
        add(span(&of.name, &id, &root, times, attributes, &of.error));
    }
    bytes
}

fn attribute(name: &str, kind: &str, value: &Value) -> Value {
    json!({"Key": name, "Value": {"Type": kind, "Value": value}})
}

fn hex(text: &str, length: usize) -> String {
    Digest::sha256_of(text.as_bytes()).hex()[..length].to_owned()
}

fn text(time: Timestamp) -> String {
    jiff::Timestamp::new(time.seconds, time.nanos).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_lies_in_that_of_the_build() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let mut span = Span::default();
        let vertex = Vertex { digest: "sha256:1".into(), name: "RUN x".into(), ..Vertex::default() };
        span.see(&Vertex { started: at(10), ..vertex.clone() });
        span.see(&Vertex { started: at(10), completed: at(12), error: "bad".into(), ..vertex });
        let never = Span::default();
        let bytes = encoded("b", [&span, &never].into_iter());
        let lines: Vec<Value> = String::from_utf8(bytes)
            .expect("text")
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["Parent"]["SpanID"], lines[0]["SpanContext"]["SpanID"]);
        assert_eq!(lines[0]["EndTime"], "1970-01-01T00:00:12Z");
        assert_eq!(lines[1]["Status"]["Description"], "bad");
        assert!(encoded("b", [&never].into_iter()).is_empty());
    }
}
