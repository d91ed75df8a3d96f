//! `top`.

use crate::app::App;
use crate::flag::Parsed;
use crate::format::table::{Shape, align};
use crate::spec::{Args, Command, Done};

/// `top`
pub static COMMAND: Command = Command::new(
    "top",
    &["CONTAINER [ps OPTIONS]"],
    Args::AtLeast(1),
    "Show the processes of a container",
    |a, p| Box::pin(run(a, p)),
)
.program()
.also(&["container top", "top"]);

async fn run(app: &App, p: Parsed) -> Done {
    let top = app.client()?.container_top(&p.args[0], &p.args[1..].join(" ")).await?;
    let mut text = format!("{}\n", top.titles.join("\t"));
    for process in &top.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    app.print(align(&text, Shape { min_width: 20, padding: 3 }))?;
    Ok(0)
}
