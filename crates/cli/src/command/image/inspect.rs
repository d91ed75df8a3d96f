//! `image inspect`.

use crate::app::App;
use crate::command::{format_flag_f, inspector};
use crate::flag::{Flag, NONE, Parsed, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    format_flag_f("Format of the output: json, or a Go template"),
    text("platform", NONE, "Platform of the image, if there are several"),
];

/// `image inspect`
pub static COMMAND: Command = Command::new(
    "inspect",
    &["[OPTIONS] IMAGE [IMAGE...]"],
    Args::AtLeast(1),
    "Show all that is known of images",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let platform = p.get("platform");
    inspector::inspect(app, &p.args, p.get("format"), |name| async move {
        Ok(client.image_inspect_raw(&name, platform).await?)
    })
    .await
}
