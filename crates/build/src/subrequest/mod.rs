//! What a client may ask of a Dockerfile instead of building it: `--call=check`, `outline`, `targets`. Answers have
//! the form of BuildKit's (frontend/subrequests): JSON for programs, a text for people, and a status.

mod lint;
mod outline;
mod table;
mod targets;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::builder::Builder;
use crate::definition::{self, Source};
use crate::dockerfile;
use crate::error::BuildError;
use crate::request::BuildRequest;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subrequest {
    /// What there is to be asked.
    Describe,
    /// What is unwise in it.
    Lint,
    /// The arguments, secrets and agents that a target takes.
    Outline,
    /// Its stages.
    Targets,
}

impl Subrequest {
    const ALL: [(&'static str, Subrequest); 4] = [
        ("frontend.subrequests.describe", Subrequest::Describe),
        ("frontend.lint", Subrequest::Lint),
        ("frontend.outline", Subrequest::Outline),
        ("frontend.targets", Subrequest::Targets),
    ];

    /// The question of this name, as BuildKit's clients ask it.
    pub fn named(id: &str) -> Option<Subrequest> {
        Self::ALL.iter().find(|(name, _)| *name == id).map(|(_, question)| *question)
    }
}

/// An answer by key: `result.json`, `result.txt`, `result.statuscode`, `version`.
pub type Answer = BTreeMap<String, Vec<u8>>;

/// The version of all answers.
const VERSION: &str = "1.0.0";

impl Builder {
    /// Answers a question about the Dockerfile of a request. Nothing is built; of images only the configuration is
    /// fetched.
    ///
    /// # Errors
    /// If there is no Dockerfile, or it cannot be read. What is wrong with it is part of what [`Subrequest::Lint`]
    /// is answered.
    pub fn answer(&self, question: Subrequest, request: &BuildRequest) -> Result<Answer, BuildError> {
        if question == Subrequest::Describe {
            return Ok(describe());
        }
        let source = definition::source(request)?;
        match question {
            Subrequest::Lint => lint::answer(self, &source, request),
            Subrequest::Outline => outline::answer(self, &source, request),
            _ => Ok(targets::answer(&dockerfile::parse(&source.text, &source.name)?)),
        }
    }
}

fn answer(json: &impl Serialize, text: String) -> Answer {
    let json = serde_json::to_vec_pretty(json).unwrap_or_default();
    [
        ("result.json".to_owned(), json),
        ("result.txt".to_owned(), text.into_bytes()),
        ("version".to_owned(), VERSION.as_bytes().to_vec()),
    ]
    .into()
}

/// Lines of the Dockerfile, as `solver/pb.Location` is written in JSON: a range for each.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Location {
    ranges: Vec<Range>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Range {
    start: Position,
    end: Position,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Position {
    line: usize,
}

impl From<(usize, usize)> for Location {
    fn from((first, last): (usize, usize)) -> Self {
        let range = |line| Range { start: Position { line }, end: Position { line } };
        // Of the whole file there is no line 0.
        let lines = first..=last.max(first);
        Location { ranges: lines.filter(|line| *line > 0).map(range).collect() }
    }
}

/// The Dockerfile's text as JSON of Go's bytes.
fn encoded(source: &Source) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(&source.text)
}

/// What the comments right above a definition say of it.
fn description(comments: &[String], name: &str) -> String {
    let said = comments.iter().find_map(|comment| comment.strip_prefix(name)?.strip_prefix(' '));
    said.filter(|_| !name.is_empty()).unwrap_or_default().to_owned()
}

#[derive(Serialize)]
struct Described {
    name: &'static str,
    version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    description: &'static str,
    opts: Vec<Named>,
    inputs: Option<()>,
    metadata: [Named; 2],
    refs: Option<()>,
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
    description: &'static str,
}

fn describe() -> Answer {
    let named = |name, description| Named { name, description };
    let described = |name, description, opts| Described {
        name,
        version: VERSION,
        kind: "rpc",
        description,
        opts,
        inputs: None,
        metadata: [named("result.json", ""), named("result.txt", "")],
        refs: None,
    };
    let all = [
        described(
            "frontend.outline",
            "List all parameters current build target supports",
            vec![named("target", "Target build stage")],
        ),
        described("frontend.targets", "List all targets current build supports", Vec::new()),
        described("frontend.subrequests.describe", "List available subrequest types", Vec::new()),
    ];
    let mut rows = vec![["NAME", "VERSION", "DESCRIPTION"].map(str::to_owned).to_vec()];
    for one in &all {
        let name = one.name.trim_start_matches("frontend.");
        rows.push([name, one.version, one.description].map(str::to_owned).to_vec());
    }
    answer(&all, table::table(&rows, 1))
}
