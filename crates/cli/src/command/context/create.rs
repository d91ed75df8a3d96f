//! `context create`.

use super::{endpoint, keep};
use crate::app::App;
use crate::command_error::Error;
use crate::context;
use crate::flag::{Flag, NONE, Parsed, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    text("description", NONE, "What the context is for"),
    endpoint::FLAG,
    text("from", NONE, "Copy another context"),
];

/// `context create`
pub static COMMAND: Command =
    Command::new("create", &["[OPTIONS] CONTEXT"], Args::Exactly(1), "Make a context", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .details(endpoint::DETAILS);

async fn run(app: &App, p: Parsed) -> Done {
    let name = p.args.first().map_or("", String::as_str);
    context::check_name(name)?;
    if context::exists(app, name) {
        return Err(Error::Refused(format!("context {name:?} already exists")));
    }
    let from = p.get("from");
    let (mut meta, tls) = match (from, endpoint::given(&p)) {
        ("", true) => {
            let mut meta = context::Meta::of(name, "", false);
            let tls = endpoint::set(app, &p, &mut meta)?;
            (meta, tls)
        }
        (_, true) => return Err(Error::Refused("cannot use --docker flag when --from is set".into())),
        ("", false) => context::whole(app, &context::current(app))?,
        (from, false) => context::whole(app, from)?,
    };
    name.clone_into(&mut meta.name);
    if !p.get("description").is_empty() {
        meta.describe(p.get("description"));
    }
    keep(app, &meta, Some(&tls), "created")
}
