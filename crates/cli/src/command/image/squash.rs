//! `image squash`: the same files in fewer layers. Dray's own.

use crate::app::App;
use crate::flag::{Flag, NONE, Parsed, list, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    list("tag", 't', "Name of the new image"),
    text("onto", NONE, "Keep the layers of this image, which the squashed one was made upon"),
    text("message", 'm', "A note in the new image's history"),
];

/// `image squash`
pub static COMMAND: Command = Command::new(
    "squash",
    &["[OPTIONS] IMAGE"],
    Args::Exactly(1),
    "Make an image with the same files in one layer",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.details("The squashed image stays as it is. Prints the id of the new one.");

async fn run(app: &App, p: Parsed) -> Done {
    let tags: Vec<String> = p.all("tag").iter().map(|tag| (*tag).to_owned()).collect();
    let made = app.client()?.image_squash(&p.args[0], p.get("onto"), &tags, p.get("message")).await?;
    app.print(format!("{}\n", made.id))?;
    Ok(0)
}
