//! `push`.

use dray_spec::Platform;

use super::pull::{auth_for, parse};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::progress;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    switch("all-tags", 'a', "Push all tags of the repository"),
    switch("disable-content-trust", NONE, "Kept for old scripts").default("true").hidden(),
    text("platform", NONE, "Push this platform only"),
    switch("quiet", 'q', "Show only the name of what was pushed"),
];

/// `push`
pub static COMMAND: Command = Command::new(
    "push",
    &["[OPTIONS] NAME[:TAG]"],
    Args::Exactly(1),
    "Send an image to a registry",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["image push", "push"]);

async fn run(app: &App, p: Parsed) -> Done {
    let mut reference = parse(&p.args[0])?;
    let quiet = p.is("quiet");
    if reference.digest().is_some() {
        return Err(Error::Refused("cannot push a digest reference".into()));
    }
    if p.is("all-tags") {
        if reference.tag().is_some() {
            return Err(Error::Refused("tag can't be used with --all-tags/-a".into()));
        }
    } else if reference.tag().is_none() {
        reference = reference.tagged();
        if !quiet {
            app.print(format!("Using default tag: {}\n", reference.tag().unwrap_or("latest")))?;
        }
    }
    let tag = reference.tag().unwrap_or_default().to_owned();
    // Credentials of nobody are sent too: the API wants the header.
    let auth = auth_for(app, &reference);
    let platform = match p.get("platform") {
        "" => String::new(),
        text => {
            let platform = Platform::parse(text).map_err(|error| Error::Refused(error.to_string()))?;
            serde_json::to_string(&platform)
                .map_err(|source| Error::Json { what: "platform".into(), source })?
        }
    };
    let name = reference.familiar_name();
    let messages = app.client()?.image_push(&name, &tag, &platform, &auth).await?;
    if quiet {
        progress::wait(messages, |_| ()).await?;
        app.print(format!("{reference}\n"))?;
        return Ok(0);
    }
    progress::show(app, messages, |_| ()).await?;
    Ok(0)
}
