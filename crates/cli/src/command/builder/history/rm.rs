//! `builder history rm`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[switch("all", NONE, "Remove the records of all builds that have ended")];

/// `builder history rm`
pub static COMMAND: Command =
    Command::new("rm", &["[OPTIONS] [BUILD...]"], Args::Any, "Remove records of builds", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS]);

async fn run(app: &App, p: Parsed) -> Done {
    match (p.args.is_empty(), p.is("all")) {
        (true, false) => return Err(Error::Refused("rm requires at least one argument".into())),
        (false, true) => {
            return Err(Error::Refused("rm requires either --all or at least one argument".into()));
        }
        _ => {}
    }
    app.client()?.build_remove(&p.args, p.is("all")).await?;
    Ok(0)
}
