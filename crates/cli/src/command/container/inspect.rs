//! `container inspect`.

use crate::app::App;
use crate::command::{format_flag_f, inspector};
use crate::flag::{Flag, Parsed, switch};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    format_flag_f("Format of the output: json, or a Go template"),
    switch("size", 's', "Show sizes of files"),
];

/// `container inspect`
pub static COMMAND: Command = Command::new(
    "inspect",
    &["[OPTIONS] CONTAINER [CONTAINER...]"],
    Args::AtLeast(1),
    "Show all that is known of containers",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let size = p.is("size");
    inspector::inspect(app, &p.args, p.get("format"), |name| async move {
        Ok(client.container_inspect_raw(&name, size).await?)
    })
    .await
}
