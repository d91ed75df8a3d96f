//! `builder history logs`: what a build told its client; of one that runs, on to its end.

use std::io::Write as _;

use dray_buildkit::log::next_message;
use dray_buildkit::proto::control::StatusResponse;
use tokio::io::AsyncReadExt as _;

use super::wanted;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, text};
use crate::progress::build::status::{self, Plain};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] =
    &[text("progress", NONE, "How to show them: plain or rawjson").default("plain").check(check_progress)];

/// `builder history logs`
pub static COMMAND: Command =
    Command::new("logs", &["[OPTIONS] [BUILD]"], Args::AtMost(1), "Print what a build has told", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS]);

fn check_progress(value: &str) -> Result<(), String> {
    match value {
        "auto" | "plain" | "tty" | "rawjson" => Ok(()),
        _ => Err("must be plain or rawjson".into()),
    }
}

async fn run(app: &App, p: Parsed) -> Done {
    let mut log = Log::new(app.client()?.build_logs(wanted(&p)).await?);
    let raw = p.get("progress") == "rawjson";
    let mut plain = Plain::default();
    while let Some(message) = log.next().await? {
        let text = if raw { status::json(&message) } else { plain.message(&message) };
        // As buildx has it.
        let mut out = std::io::stderr().lock();
        out.write_all(text.as_bytes()).map_err(Error::io("write standard error"))?;
    }
    Ok(0)
}

/// A log as it comes.
pub(super) struct Log<R> {
    from: R,
    buffer: Vec<u8>,
}

/// So much is read at once.
const PIECE: usize = 64 << 10;

impl<R: tokio::io::AsyncRead + Unpin> Log<R> {
    pub(super) fn new(from: R) -> Self {
        Log { from, buffer: Vec::new() }
    }

    /// The next message; none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<StatusResponse>, Error> {
        loop {
            let mut rest = self.buffer.as_slice();
            if let Some(message) = next_message(&mut rest) {
                let taken = self.buffer.len() - rest.len();
                self.buffer.drain(..taken);
                return Ok(Some(message));
            }
            self.buffer.reserve(PIECE);
            if self.from.read_buf(&mut self.buffer).await.map_err(Error::io("read the log"))? == 0 {
                return Ok(None);
            }
        }
    }
}
