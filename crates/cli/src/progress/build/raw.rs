//! `--progress=rawjson`: a build's events as lines of JSON, in the shape that buildx writes (BuildKit's `SolveStatus`),
//! so that what reads those reads these.
//!
//! ```text
//! {"vertexes":[{"digest":…,"name":"[2/3] RUN make","started":…}]}
//! {"logs":[{"vertex":…,"stream":1,"data":"<base64>","timestamp":…}]}
//! ```

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_client::api::build::BuildEvent;
use dray_spec::Digest;
use serde::Serialize;

/// The vertex of what happens after the steps.
const EXPORT: &str = "exporting to image";

/// Turns events into lines.
#[derive(Debug, Default)]
pub struct Raw {
    /// What is before the names: the target, where several are built at once.
    prefix: String,
    steps: BTreeMap<usize, Vertex>,
    exports: BTreeMap<String, Vertex>,
}

#[derive(Debug, Default, Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<Progress>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<Log>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Vertex {
    digest: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

#[derive(Debug, Serialize)]
struct Progress {
    id: String,
    vertex: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    current: u64,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Log {
    vertex: String,
    stream: u8,
    data: String,
    timestamp: String,
}

#[derive(Debug, Serialize)]
struct Warning {
    #[serde(skip_serializing_if = "String::is_empty")]
    vertex: String,
    level: u8,
    short: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    detail: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    url: String,
}

impl Vertex {
    fn new(seed: &str, name: String) -> Self {
        let digest = Digest::sha256_of(seed.as_bytes()).to_string();
        Vertex { digest, name, ..Vertex::default() }
    }

    /// It has begun, if it had not before.
    fn begin(&mut self, now: &str) {
        self.started.get_or_insert_with(|| now.to_owned());
    }
}

fn line(status: &Status) -> String {
    let mut line = serde_json::to_string(status).unwrap_or_default();
    line.push('\n');
    line
}

fn of_vertex(vertex: Vertex) -> String {
    line(&Status { vertexes: vec![vertex], ..Status::default() })
}

impl Raw {
    /// For one of several targets.
    pub fn of(target: &str) -> Raw {
        Raw { prefix: format!("{target} "), ..Raw::default() }
    }

    /// What an event prints.
    pub fn event(&mut self, event: BuildEvent) -> String {
        self.at(event, &jiff::Timestamp::now().to_string())
    }

    fn at(&mut self, event: BuildEvent, now: &str) -> String {
        match event {
            BuildEvent::Step { n, total, text, stage } => {
                let named = !stage.is_empty() && !stage.bytes().all(|b| b.is_ascii_digit());
                let stage = if named { format!("{stage} ") } else { String::new() };
                let stage = format!("{}{stage}", self.prefix);
                let seed = format!("{}{n}\n{text}", self.prefix);
                let vertex = Vertex::new(&seed, format!("[{stage}{n}/{total}] {text}"));
                self.steps.insert(n, vertex.clone());
                of_vertex(vertex)
            }
            BuildEvent::Running { n, .. } => self.step(n, |step| step.begin(now)),
            BuildEvent::StepDone { n, cached, .. } => self.step(n, |step| {
                step.begin(now);
                step.cached = cached;
                step.completed = Some(now.to_owned());
            }),
            BuildEvent::StepFailed { n, error, .. } => self.step(n, |step| {
                step.begin(now);
                step.error = error;
                step.completed = Some(now.to_owned());
            }),
            BuildEvent::Output { n, stream, text } => {
                let Some(step) = self.steps.get(&n) else { return String::new() };
                let stream = if stream == "stderr" { 2 } else { 1 };
                let data = STANDARD.encode(text);
                let log = Log { vertex: step.digest.clone(), stream, data, timestamp: now.to_owned() };
                line(&Status { logs: vec![log], ..Status::default() })
            }
            BuildEvent::Pull { n, id, status, current, total } => {
                let Some(step) = self.steps.get(&n) else { return String::new() };
                let id = if id.is_empty() { status } else { format!("{status} {id}") };
                let vertex = step.digest.clone();
                Self::progress(id, vertex, current.unwrap_or(0), total, current.is_none(), now)
            }
            BuildEvent::Check { rule, url, detail, excerpt, .. } => {
                let detail = vec![STANDARD.encode(detail), STANDARD.encode(excerpt)];
                let short = STANDARD.encode(rule);
                let warning = Warning { vertex: String::new(), level: 1, short, detail, url };
                line(&Status { warnings: vec![warning], ..Status::default() })
            }
            BuildEvent::Warning { message } => {
                let (vertex, url) = (String::new(), String::new());
                let short = STANDARD.encode(message);
                let warning = Warning { vertex, level: 1, short, detail: Vec::new(), url };
                line(&Status { warnings: vec![warning], ..Status::default() })
            }
            BuildEvent::Export { name, millis } => {
                self.export(&name, now, |vertex| vertex.completed = millis.map(|_| now.to_owned()))
            }
            BuildEvent::Built { id } => self.exported(format!("writing image {id}"), now),
            BuildEvent::Tagged { reference } => self.exported(format!("naming to {reference}"), now),
            BuildEvent::Plan { .. } | BuildEvent::CacheHit { .. } | BuildEvent::Unknown => String::new(),
        }
    }

    fn step(&mut self, n: usize, change: impl FnOnce(&mut Vertex)) -> String {
        let Some(step) = self.steps.get_mut(&n) else { return String::new() };
        change(step);
        of_vertex(step.clone())
    }

    fn export(&mut self, name: &str, now: &str, change: impl FnOnce(&mut Vertex)) -> String {
        let shown = match self.prefix.trim_end() {
            "" => name.to_owned(),
            target => format!("[{target}] {name}"),
        };
        let vertex =
            self.exports.entry(name.to_owned()).or_insert_with(|| Vertex::new(&shown, shown.clone()));
        vertex.begin(now);
        change(vertex);
        of_vertex(vertex.clone())
    }

    /// Something that was done with the image.
    fn exported(&mut self, what: String, now: &str) -> String {
        let vertex = self.export(EXPORT, now, |vertex| vertex.completed = Some(now.to_owned()));
        let digest = self.exports.get(EXPORT).map(|vertex| vertex.digest.clone()).unwrap_or_default();
        vertex + &Self::progress(what, digest, 0, None, true, now)
    }

    fn progress(
        id: String,
        vertex: String,
        current: u64,
        total: Option<u64>,
        done: bool,
        now: &str,
    ) -> String {
        let time = || Some(now.to_owned());
        let completed = if done { time() } else { None };
        let progress =
            Progress { id, vertex, total, current, timestamp: now.to_owned(), started: time(), completed };
        line(&Status { statuses: vec![progress], ..Status::default() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn values(text: &str) -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_step_is_a_vertex_with_its_logs() {
        let mut raw = Raw::default();
        let step = BuildEvent::Step { n: 2, total: 3, text: "RUN make".into(), stage: "app".into() };
        let announced = values(&raw.at(step, "t0")).remove(0);
        let vertex = &announced["vertexes"][0];
        assert_eq!(vertex["name"], "[app 2/3] RUN make");
        assert!(vertex["digest"].as_str().unwrap().starts_with("sha256:") && vertex["started"].is_null());
        raw.at(BuildEvent::Running { n: 2, container: String::new() }, "t1");
        let output = BuildEvent::Output { n: 2, stream: "stderr".into(), text: "hi\n".into() };
        let log = &values(&raw.at(output, "t2"))[0]["logs"][0];
        assert_eq!(*log, json!({"vertex": vertex["digest"], "stream": 2, "data": "aGkK", "timestamp": "t2"}));
        let failed = BuildEvent::StepFailed { n: 2, millis: 1, error: "no".into(), excerpt: String::new() };
        let ended = &values(&raw.at(failed, "t3"))[0]["vertexes"][0];
        let times = (&ended["started"], &ended["completed"], &ended["error"]);
        assert_eq!(times, (&json!("t1"), &json!("t3"), &json!("no")));
    }

    #[test]
    fn what_comes_after_the_steps_is_a_vertex_of_its_own() {
        let mut raw = Raw::default();
        raw.at(BuildEvent::Built { id: "sha256:aa".into() }, "t0");
        let lines = values(&raw.at(BuildEvent::Tagged { reference: "a:b".into() }, "t1"));
        assert_eq!(lines[0]["vertexes"][0]["name"], EXPORT);
        assert_eq!(lines[1]["statuses"][0]["id"], "naming to a:b");
        let begun =
            raw.at(BuildEvent::Export { name: "exporting cache to registry".into(), millis: None }, "t2");
        assert!(values(&begun)[0]["vertexes"][0]["completed"].is_null());
    }
}
