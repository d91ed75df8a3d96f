//! `load`.

use dray_client::{JsonStream, Upload};
use tokio::io::AsyncReadExt as _;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, commas, switch, text};
use crate::pack;
use crate::progress;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    text("input", 'i', "File to read, instead of standard input"),
    commas("platform", NONE, "Load this platform only"),
    switch("quiet", 'q', "Do not show progress"),
];

/// `load`
pub static COMMAND: Command =
    Command::new("load", &["[OPTIONS]"], Args::No, "Take images from a tar archive", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .also(&["image load", "load"]);

async fn run(app: &App, p: Parsed) -> Done {
    let input = p.get("input");
    let tar = if input.is_empty() {
        if crate::terminal::is_terminal(std::io::stdin()) {
            return Err(Error::Refused("requested load from stdin, but stdin is empty".into()));
        }
        Upload::tar_chunks(pack::stdin())
    } else {
        Upload::tar(tokio::fs::File::open(input).await.map_err(Error::file("open", input))?)
    };
    let quiet = p.is("quiet") || !crate::terminal::is_terminal(std::io::stdout());
    let platform = p.all("platform").first().map(|t| platform_json(t)).unwrap_or_default();
    let mut body = app.client()?.image_load(quiet, &platform, tar).await?;
    let is_json = body.headers().get("content-type").is_some_and(|t| t == "application/json");
    if is_json {
        progress::show(app, JsonStream::new(body), |_| ()).await?;
        return Ok(0);
    }
    let mut text = Vec::new();
    body.read_to_end(&mut text).await.map_err(Error::io("read the daemon's answer"))?;
    app.print(text)?;
    Ok(0)
}

/// `linux/arm64/v8` as the JSON that the API takes.
pub fn platform_json(text: &str) -> String {
    let mut parts = text.split('/');
    let mut fields = Vec::new();
    for (key, part) in ["os", "architecture", "variant"].iter().zip(parts.by_ref()) {
        let mut value = String::new();
        dray_spec::golang::write_json_string(part, false, &mut value);
        fields.push(format!("\"{key}\":{value}"));
    }
    format!("{{{}}}", fields.join(","))
}
