//! A rehearsal: what would change something is not sent, and what is asked afterwards is answered as if it had been
//! (`compose --dry-run`). Containers that would be there are listed with those that are; they run and are healthy as soon
//! as they would have been started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Method;
use serde_json::{Value, json};

/// The id of every program that would be run in a container.
const EXEC: &str = "rehearsed";
/// The id of every image that would be pulled or built.
const IMAGE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What has been pretended so far.
#[derive(Debug, Default)]
pub struct Rehearsal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    made: Vec<Made>,
    gone: BTreeSet<String>,
    /// By container: `running`, `exited`, `paused`.
    states: BTreeMap<String, &'static str>,
    names: BTreeMap<String, String>,
    images: BTreeSet<String>,
}

/// A container that would be there.
#[derive(Debug)]
struct Made {
    id: String,
    request: Value,
}

/// A request as the rehearsal sees it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a str,
    /// Its query, not yet decoded.
    pub query: &'a str,
    /// Its body, where it is small.
    pub body: &'a [u8],
}

impl Asked<'_> {
    fn parameter(&self, name: &str) -> String {
        let pairs = self.query.trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next().unwrap_or_default()
    }

    /// Whether it asks for something and changes nothing.
    pub fn only_asks(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Rehearsal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, where nothing is to be sent.
    pub fn answer(&self, asked: &Asked<'_>) -> Option<Value> {
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        let mut state = self.state();
        if asked.only_asks() {
            return match parts.as_slice() {
                ["containers", id, "json"] => state.made(&decoded(id)).map(|made| state.inspected(made)),
                ["exec", EXEC, "json"] => Some(json!({"ID": EXEC, "Running": false, "ExitCode": 0})),
                _ => None,
            };
        }
        let body = || serde_json::from_slice::<Value>(asked.body).unwrap_or_default();
        Some(match parts.as_slice() {
            ["containers", "create"] => {
                let id = asked.parameter("name");
                state.made.push(Made { id: id.clone(), request: body() });
                state.gone.remove(&id);
                json!({"Id": id, "Warnings": []})
            }
            ["containers", _, "exec"] => json!({"Id": EXEC}),
            ["containers", id, what] => {
                let id = decoded(id);
                match *what {
                    "start" | "restart" | "unpause" => state.states.insert(id, "running"),
                    "stop" | "kill" => state.states.insert(id, "exited"),
                    "pause" => state.states.insert(id, "paused"),
                    "rename" => {
                        state.names.insert(id, asked.parameter("name"));
                        None
                    }
                    _ => None,
                };
                json!({"StatusCode": 0})
            }
            ["containers", id] => {
                let id = decoded(id);
                state.made.retain(|made| made.id != id);
                state.gone.insert(id);
                json!({})
            }
            ["networks", "create"] | ["volumes", "create"] => {
                let name = body()["Name"].clone();
                json!({"Id": name, "Name": name, "Driver": "local"})
            }
            ["images", "create"] => {
                let (name, tag) = (asked.parameter("fromImage"), asked.parameter("tag"));
                state.images.insert(if tag.is_empty() { name } else { format!("{name}:{tag}") });
                json!({})
            }
            ["images", image, ..] if asked.method == Method::DELETE => json!([{"Untagged": decoded(image)}]),
            _ => json!({}),
        })
    }

    /// An image that would be built.
    pub fn built(&self, name: &str) {
        self.state().images.insert(name.to_owned());
    }

    /// What an image that is not there would be.
    pub fn image(&self, path: &str) -> Option<Value> {
        let name = decoded(path.strip_prefix("/images/")?.strip_suffix("/json")?);
        let state = self.state();
        let tagged = if name.rsplit('/').next().is_some_and(|last| last.contains(':')) {
            name.clone()
        } else {
            format!("{name}:latest")
        };
        let same =
            |known: &String| *known == name || *known == tagged || known.ends_with(&format!("/{tagged}"));
        state.images.iter().any(same).then(|| json!({"Id": IMAGE, "RepoTags": [name]}))
    }

    /// What is there, with what has been pretended.
    pub fn adjust(&self, asked: &Asked<'_>, answer: Value) -> Value {
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        let state = self.state();
        match (parts.as_slice(), answer) {
            (["containers", "json"], Value::Array(list)) => state.listed(asked, list),
            (["containers", _, "json"], mut found) => {
                let id = found["Id"].as_str().unwrap_or_default().to_owned();
                if let Some(now) = state.states.get(&id) {
                    found["State"]["Status"] = json!(now);
                    found["State"]["Running"] = json!(*now == "running");
                }
                found
            }
            (_, other) => other,
        }
    }
}

impl State {
    fn made(&self, id: &str) -> Option<&Made> {
        self.made.iter().find(|made| made.id == id)
    }

    fn name(&self, made: &Made) -> String {
        self.names.get(&made.id).unwrap_or(&made.id).clone()
    }

    fn inspected(&self, made: &Made) -> Value {
        let mut config = made.request.clone();
        let host = config["HostConfig"].take();
        json!({
            "Id": made.id,
            "Name": format!("/{}", self.name(made)),
            "State": {"Status": "running", "Running": true, "Health": {"Status": "healthy"}},
            "Config": config,
            "HostConfig": host,
            "NetworkSettings": {"Networks": {}},
        })
    }

    fn listed(&self, asked: &Asked<'_>, list: Vec<Value>) -> Value {
        let all = asked.parameter("all") == "1" || asked.parameter("all") == "true";
        let filters: Value = serde_json::from_str(&asked.parameter("filters")).unwrap_or_default();
        let mut shown: Vec<Value> = list;
        shown.retain(|one| !one["Id"].as_str().is_some_and(|id| self.gone.contains(id)));
        for one in &mut shown {
            let id = one["Id"].as_str().unwrap_or_default().to_owned();
            if let Some(now) = self.states.get(&id) {
                one["State"] = json!(now);
            }
            if let Some(name) = self.names.get(&id) {
                one["Names"] = json!([format!("/{name}")]);
            }
        }
        for made in &self.made {
            let now = self.states.get(&made.id).copied().unwrap_or("created");
            let labels = made.request["Labels"].clone();
            if (all || now == "running") && has_labels(&filters, &labels) {
                shown.push(json!({
                    "Id": made.id,
                    "Names": [format!("/{}", self.name(made))],
                    "Image": made.request["Image"],
                    "Labels": labels,
                    "State": now,
                    "NetworkSettings": {"Networks": {}},
                }));
            }
        }
        Value::Array(shown)
    }
}

/// Whether labels are what a filter asks for: `key` or `key=value`, in a list or as the keys of an object.
fn has_labels(filters: &Value, labels: &Value) -> bool {
    let asked: Vec<&str> = match &filters["label"] {
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        Value::Object(map) => map.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    asked.iter().all(|term| match term.split_once('=') {
        Some((key, value)) => labels[key].as_str() == Some(value),
        None => labels.get(term).is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(method: &'a Method, path: &'a str, query: &'a str, body: &'a [u8]) -> Asked<'a> {
        Asked { method, path, query, body }
    }

    #[test]
    fn what_would_be_there_is_listed_and_what_would_be_gone_is_not() {
        let rehearsal = Rehearsal::default();
        let body = br#"{"Image":"busybox","Labels":{"a":"b"},"HostConfig":{}}"#;
        let create = asked(&Method::POST, "/containers/create", "?name=p-web-1", body);
        assert_eq!(rehearsal.answer(&create).unwrap()["Id"], "p-web-1");
        let list = asked(
            &Method::GET,
            "/containers/json",
            "?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D",
            b"",
        );
        let there = json!([{"Id": "old", "State": "running"}]);
        assert!(rehearsal.answer(&list).is_none(), "what is there is asked for");
        let shown = rehearsal.adjust(&list, there.clone());
        assert_eq!((&shown[1]["Names"][0], &shown[1]["State"]), (&json!("/p-web-1"), &json!("created")));
        rehearsal.answer(&asked(&Method::POST, "/containers/p-web-1/start", "", b""));
        rehearsal.answer(&asked(&Method::DELETE, "/containers/old", "?force=1", b""));
        let shown = rehearsal.adjust(&list, there.clone());
        assert_eq!(shown.as_array().map(Vec::len), Some(1));
        assert_eq!(shown[0]["State"], "running");
        let inspect = asked(&Method::GET, "/containers/p-web-1/json", "", b"");
        assert_eq!(rehearsal.answer(&inspect).unwrap()["State"]["Health"]["Status"], "healthy");
        let other = asked(
            &Method::GET,
            "/containers/json",
            "?all=1&filters=%7B%22label%22%3A%5B%22a%3Dc%22%5D%7D",
            b"",
        );
        assert_eq!(rehearsal.adjust(&other, json!([])), json!([]));
    }

    #[test]
    fn images_that_would_be_there_have_an_id() {
        let rehearsal = Rehearsal::default();
        rehearsal.answer(&asked(
            &Method::POST,
            "/images/create",
            "?fromImage=docker.io%2Flibrary%2Fx&tag=latest",
            b"",
        ));
        assert!(rehearsal.image("/images/x/json").is_some());
        assert!(rehearsal.image("/images/y/json").is_none());
        rehearsal.built("p-app");
        assert!(rehearsal.image("/images/p-app/json").is_some());
    }
}
