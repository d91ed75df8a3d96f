//! `inspect`: things of any kind.

use bytes::Bytes;

use crate::app::App;
use crate::command::{format_flag_f, inspector};
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    format_flag_f("Format of the output: json, or a Go template"),
    switch("size", 's', "Show sizes of files of containers"),
    text("type", NONE, "Only things of this kind"),
];

/// `inspect`
pub static COMMAND: Command = Command::new(
    "inspect",
    &["[OPTIONS] NAME|ID [NAME|ID...]"],
    Args::AtLeast(1),
    "Show all that is known of things",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

/// Kinds in the order in which a name is looked for.
const KINDS: &[&str] = &["container", "image", "network", "volume"];
/// Kinds of a swarm and of plugins, of which there are none.
const EMPTY_KINDS: &[&str] = &["node", "plugin", "secret", "service", "task", "config"];

async fn run(app: &App, p: Parsed) -> Done {
    let kind = p.get("type");
    if p.given("type") && kind.is_empty() {
        return Err(Error::Refused("type is empty: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"".into()));
    }
    if !kind.is_empty() && !KINDS.contains(&kind) && !EMPTY_KINDS.contains(&kind) {
        return Err(Error::Refused(format!(
            "unknown type: \"{kind}\": must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
        )));
    }
    let size = p.is("size");
    inspector::inspect(
        app,
        &p.args,
        p.get("format"),
        |name| async move { find(app, &name, kind, size).await },
    )
    .await
}

async fn find(app: &App, name: &str, wanted: &str, size: bool) -> Result<Bytes, Error> {
    let client = app.client()?;
    for kind in KINDS.iter().filter(|k| wanted.is_empty() || **k == wanted) {
        let got = match *kind {
            "container" => client.container_inspect_raw(name, size).await,
            "image" => client.image_inspect_raw(name, "").await,
            "network" => client.network_inspect_raw(name, false).await,
            _ => client.volume_inspect_raw(name).await,
        };
        match got {
            Ok(raw) => {
                if size && *kind != "container" {
                    app.warn(format!("WARNING: --size ignored for {kind}"));
                }
                return Ok(raw);
            }
            // A name that one kind cannot have may be another's.
            Err(e) if wanted.is_empty() && looks_elsewhere(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    let kind = if wanted.is_empty() { "object" } else { wanted };
    Err(Error::Refused(format!("Error: No such {kind}: {name}")))
}

fn looks_elsewhere(e: &dray_client::Error) -> bool {
    matches!(e, dray_client::Error::Api { status: 400 | 404, .. })
}
