//! `context inspect`.

use bytes::Bytes;

use crate::app::App;
use crate::command::format_flag_f;
use crate::command::inspector::inspect;
use crate::context;
use crate::flag::{Flag, Parsed};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[format_flag_f("Format of the output: json, or a Go template")];

/// `context inspect`
pub static COMMAND: Command =
    Command::new("inspect", &["[OPTIONS] [CONTEXT...]"], Args::Any, "Show all of contexts", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS]);

async fn run(app: &App, p: Parsed) -> Done {
    let current = [context::current(app)];
    let names: &[String] = if p.args.is_empty() { &current } else { &p.args };
    inspect(app, names, p.get("format"), async |name| Ok(Bytes::from(context::describe(app, &name)?))).await
}
