//! `save`.

use super::load::platform_json;
use crate::app::App;
use crate::command::output_file;
use crate::flag::{Flag, NONE, Parsed, commas, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    text("output", 'o', "File to write, instead of standard output"),
    commas("platform", NONE, "Save this platform only"),
];

/// `save`
pub static COMMAND: Command = Command::new(
    "save",
    &["[OPTIONS] IMAGE [IMAGE...]"],
    Args::AtLeast(1),
    "Write images as a tar archive",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["image save", "save"]);

async fn run(app: &App, p: Parsed) -> Done {
    let out = output_file::Target::check(p.get("output"), "failed to save image")?;
    let platform = p.all("platform").first().map(|t| platform_json(t)).unwrap_or_default();
    let client = app.client()?;
    if !out.fill(async |file| client.image_save_file(&p.args, &platform, file).await).await? {
        out.write(client.image_save(&p.args, &platform).await?).await?;
    }
    Ok(0)
}
