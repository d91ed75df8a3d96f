//! Failures as BuildKit's clients show them: its sentences, and the lines of the Dockerfile as a detail.
//!
//! Details are JSON of BuildKit's Go types under its own type URLs (util/grpcerrors).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_build::BuildError;
use dray_build::dockerfile::{self, Dockerfile, ParseError};
use dray_buildkit::grpc::{Code, Status};
use dray_engine::build::Error;
use serde_json::json;

use super::attrs::check_syntax;

const SOURCE: &str = "github.com/moby/buildkit/errdefs.Source+json";
const VERTEX: &str = "github.com/moby/buildkit/errdefs.Vertex+json";

/// A Dockerfile as it was read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    /// The failure with the lines that it is about.
    pub fn at(&self, lines: (usize, usize), status: Status) -> Status {
        let position = |line: usize| json!({ "line": line });
        let detail = json!({
            "info": {
                "filename": self.name,
                "data": STANDARD.encode(&self.text),
                "language": "Dockerfile",
            },
            "ranges": [{ "start": position(lines.0), "end": position(lines.1) }],
        });
        status.with_detail(SOURCE, detail.to_string().into_bytes())
    }

    /// The Dockerfile, if it is one for the frontend that is built in here.
    pub fn parsed(&self) -> Result<Dockerfile, Status> {
        let dockerfile =
            dockerfile::parse(&self.text, &self.name).map_err(|error| self.parse_error(&error))?;
        if let Some(syntax) = &dockerfile.syntax {
            check_syntax(syntax)?;
        }
        Ok(dockerfile)
    }

    /// A Dockerfile that cannot be parsed.
    fn parse_error(&self, error: &ParseError) -> Status {
        let status = Status::new(Code::InvalidArgument, error.reason());
        let status = Status { code: Code::Unknown, ..status };
        match error.lines() {
            Some(lines) => self.at(lines, status),
            None => status,
        }
    }

    /// A failed build, with its lines if it says some.
    pub fn failed(&self, error: Error) -> Status {
        let lines = match &error {
            Error::Build(error) => error.lines(),
            _ => None,
        };
        let status = engine(error);
        match lines {
            Some(lines) => self.at(lines, status),
            None => status,
        }
    }
}

/// A failed build, in BuildKit's words where it has its own.
pub(super) fn engine(error: Error) -> Status {
    let Error::Build(error) = &error else { return Status::new(Code::Unknown, error.to_string()) };
    match error.cause() {
        error if error.is_cancellation() => Status::new(Code::Cancelled, "context canceled"),
        BuildError::Command { command, code, oom_killed } => {
            let memory = if *oom_killed { ": cannot allocate memory" } else { "" };
            let text =
                format!("process {command:?} did not complete successfully: exit code: {code}{memory}");
            Status::new(Code::Unknown, text)
        }
        BuildError::Parse(error) => Status::new(Code::Unknown, error.reason()),
        error => Status::new(Code::Unknown, error.to_string()),
    }
}

/// The failure with the vertex that it ended.
pub(super) fn of_vertex(status: Status, digest: &str) -> Status {
    status.with_detail(VERTEX, json!({ "digest": digest }).to_string().into_bytes())
}

/// Our own failure.
pub(super) fn internal(error: impl std::fmt::Display) -> Status {
    Status::new(Code::Internal, error.to_string())
}

/// A file that is not there.
pub(super) fn not_found(message: impl Into<String>) -> Status {
    // As BuildKit: a plain failure of the build, whose text says all.
    Status::new(Code::Unknown, message)
}

/// A request that cannot be met.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    Status::new(Code::InvalidArgument, message)
}

/// A request that this builder has no answer to.
pub(super) fn unsupported(what: impl std::fmt::Display) -> Status {
    Status::unimplemented(format!("{what} not supported by this builder"))
}

/// A graph instead of a Dockerfile.
pub(super) fn definitions() -> Status {
    unsupported("LLB definitions are")
}
