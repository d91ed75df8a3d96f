//! `load`.

use std::os::fd::AsFd as _;

use dray_client::{JsonStream, Upload};
use tokio::io::AsyncReadExt as _;

use crate::app::App;
use crate::command::output_file::is_regular;
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
    let quiet = p.is("quiet") || !crate::terminal::is_terminal(std::io::stdout());
    let platform = p.all("platform").first().map(|t| platform_json(t)).unwrap_or_default();
    let (stdin, input) = (std::io::stdin(), p.get("input"));
    let file = match input {
        "" if crate::terminal::is_terminal(&stdin) => {
            return Err(Error::Refused("requested load from stdin, but stdin is empty".into()));
        }
        "" => None,
        path => Some(std::fs::File::open(path).map_err(Error::file("open", path))?),
    };
    let client = app.client()?;
    let open = file.as_ref().map_or_else(|| stdin.as_fd(), |file| file.as_fd());
    let handed = match is_regular(open) {
        true => client.image_load_file(quiet, &platform, open).await?,
        false => None,
    };
    let mut body = match (handed, file) {
        (Some(answer), _) => {
            progress::show(app, JsonStream::new(answer), |_| ()).await?;
            return Ok(0);
        }
        (None, Some(file)) => {
            let tar = Upload::tar(tokio::fs::File::from_std(file));
            client.image_load(quiet, &platform, tar).await?
        }
        (None, None) => client.image_load(quiet, &platform, Upload::tar_chunks(pack::stdin())).await?,
    };
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
