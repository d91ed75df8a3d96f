//! `context update`.

use super::{endpoint, keep};
use crate::app::App;
use crate::context;
use crate::flag::{Flag, NONE, Parsed, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[text("description", NONE, "What the context is for"), endpoint::FLAG];

/// `context update`
pub static COMMAND: Command =
    Command::new("update", &["[OPTIONS] CONTEXT"], Args::Exactly(1), "Change a context", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .details(endpoint::DETAILS);

async fn run(app: &App, p: Parsed) -> Done {
    let name = p.args.first().map_or("", String::as_str);
    context::check_name(name)?;
    let mut meta = context::get(app, name)?;
    if !p.get("description").is_empty() {
        meta.describe(p.get("description"));
    }
    let tls = match endpoint::given(&p) {
        true => Some(endpoint::set(app, &p, &mut meta)?),
        false => None,
    };
    keep(app, &meta, tls.as_ref(), "updated")
}
