//! `rmi` and `image rm`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, commas, switch};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    switch("force", 'f', "Remove it even if it has other names"),
    switch("no-prune", NONE, "Keep its untagged parents"),
    commas("platform", NONE, "Remove this platform only").hidden(),
];

const ABOUT: &str = "Remove images";
const ALSO: &[&str] = &["image rm", "image remove", "rmi"];

/// `rmi`
pub static RMI: Command =
    Command::new("rmi", &["[OPTIONS] IMAGE [IMAGE...]"], Args::AtLeast(1), ABOUT, |a, p| Box::pin(run(a, p)))
        .flags(&[FLAGS])
        .also(ALSO);

/// `image rm`
pub static RM: Command =
    Command::new("rm", &["[OPTIONS] IMAGE [IMAGE...]"], Args::AtLeast(1), ABOUT, |a, p| Box::pin(run(a, p)))
        .flags(&[FLAGS])
        .aliases(&["remove"])
        .also(ALSO);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let force = p.is("force");
    let mut errors: Vec<Error> = Vec::new();
    for name in &p.args {
        match client.image_remove(name, force, p.is("no-prune")).await {
            Ok(items) => {
                for item in items {
                    let line = if item.deleted.is_empty() {
                        format!("Untagged: {}\n", item.untagged)
                    } else {
                        format!("Deleted: {}\n", item.deleted)
                    };
                    app.print(line)?;
                }
            }
            Err(e) => errors.push(e.into()),
        }
    }
    // With --force, images that are not there are told of but do not fail.
    if force && errors.iter().all(Error::is_not_found) {
        errors.drain(..).for_each(|e| app.warn(e));
    }
    Error::all(errors).map(|()| 0)
}
