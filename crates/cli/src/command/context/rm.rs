//! `context rm`.

use super::choose::choose;
use crate::app::App;
use crate::command::each::each;
use crate::command_error::Error;
use crate::context;
use crate::flag::{Flag, Parsed, switch};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[switch("force", 'f', "Also one that is in use, or not there")];

/// `context rm`
pub static COMMAND: Command =
    Command::new("rm", &["CONTEXT [CONTEXT...]"], Args::AtLeast(1), "Remove contexts", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .aliases(&["remove"])
    .also(&["context rm", "context remove"]);

async fn run(app: &App, p: Parsed) -> Done {
    let current = context::current(app);
    each(app, &p.args, async |name| remove(app, name, name == current, p.is("force"))).await
}

fn remove(app: &App, name: &str, in_use: bool, force: bool) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Refused(format!("context {name:?} {why}")));
    if name == context::DEFAULT {
        return refuse("cannot be removed");
    }
    if !force && !context::exists(app, name) {
        return refuse("does not exist");
    }
    if in_use {
        if !force {
            return refuse("is in use, set -f flag to force remove");
        }
        choose(app, context::DEFAULT)?;
    }
    context::remove(app, name)
}
