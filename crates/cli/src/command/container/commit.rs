//! `commit`.

use dray_client::api::container::ContainerConfig;
use dray_client::container::CommitOptions;
use dray_spec::Reference;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, switch, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    text("author", 'a', "Who makes the image"),
    list("change", 'c', "Dockerfile instruction to apply to the image"),
    text("message", 'm', "Message of the image"),
    switch("no-pause", NONE, "Do not pause the container meanwhile"),
    switch("pause", 'p', "Pause the container meanwhile").default("true"),
];

/// `commit`
pub static COMMAND: Command = Command::new(
    "commit",
    &["[OPTIONS] CONTAINER [REPOSITORY[:TAG]]"],
    Args::Range(1, 2),
    "Make an image of the changes in a container",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container commit", "commit"]);

async fn run(app: &App, p: Parsed) -> Done {
    let (repo, tag) = match p.args.get(1).map(String::as_str) {
        None | Some("") => (String::new(), String::new()),
        Some(name) => {
            let reference = Reference::parse(name).map_err(|e| Error::Refused(e.to_string()))?;
            if reference.digest().is_some() {
                return Err(Error::Refused("refusing to create a tag with a digest reference".into()));
            }
            let reference = reference.tagged();
            (reference.familiar_name(), reference.tag().unwrap_or_default().to_owned())
        }
    };
    let options = CommitOptions {
        repo,
        tag,
        comment: p.get("message").to_owned(),
        author: p.get("author").to_owned(),
        changes: p.all("change"),
        pause: p.is("pause") && !p.is("no-pause"),
    };
    let made = app.client()?.container_commit(&p.args[0], &options, &ContainerConfig::default()).await?;
    app.print(format!("{}\n", made.id))?;
    Ok(0)
}
