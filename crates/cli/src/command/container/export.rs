//! `export`.

use crate::app::App;
use crate::command::output_file;
use crate::flag::{Flag, Parsed, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[text("output", 'o', "File to write, instead of standard output")];

/// `export`
pub static COMMAND: Command = Command::new(
    "export",
    &["[OPTIONS] CONTAINER"],
    Args::Exactly(1),
    "Write the files of a container as a tar archive",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["container export", "export"]);

async fn run(app: &App, p: Parsed) -> Done {
    let out = output_file::Target::check(p.get("output"), "failed to export container")?;
    let tar = app.client()?.container_export(&p.args[0]).await?;
    out.write(tar).await?;
    Ok(0)
}
