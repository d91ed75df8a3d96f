//! Networks.

pub mod connect;
pub mod create;
pub mod exposure;
pub mod ls;
pub mod rm;

use crate::app::App;
use crate::command::container::prune::{FLAGS as PRUNE_FLAGS, agree};
use crate::command::{format_flag_f, inspector};
use crate::flag::{Flag, Parsed, switch};
use crate::spec::{Args, Command, Done, Group};

/// `network`
pub static GROUP: Group = Group {
    name: "network",
    about: "Manage networks",
    commands: &[
        &connect::CONNECT,
        &create::COMMAND,
        &connect::DISCONNECT,
        &exposure::COMMAND,
        &INSPECT,
        &ls::COMMAND,
        &PRUNE,
        &rm::COMMAND,
    ],
};

const INSPECT_FLAGS: &[Flag] = &[
    format_flag_f("Format of the output: json, or a Go template"),
    switch("verbose", 'v', "Show more, to find faults"),
];

static INSPECT: Command = Command::new(
    "inspect",
    &["[OPTIONS] NETWORK [NETWORK...]"],
    Args::AtLeast(1),
    "Show all that is known of networks",
    |a, p| Box::pin(inspect(a, p)),
)
.flags(&[INSPECT_FLAGS]);

static PRUNE: Command =
    Command::new("prune", &["[OPTIONS]"], Args::No, "Remove networks that no container uses", |a, p| {
        Box::pin(prune(a, p))
    })
    .flags(&[PRUNE_FLAGS]);

async fn inspect(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let verbose = p.is("verbose");
    inspector::inspect(app, &p.args, p.get("format"), |name| async move {
        Ok(client.network_inspect_raw(&name, verbose).await?)
    })
    .await
}

async fn prune(app: &App, p: Parsed) -> Done {
    let question = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";
    if !agree(app, &p, question)? {
        return Ok(0);
    }
    let report = app.client()?.network_prune(&p.filters()).await?;
    let deleted = report.networks_deleted.unwrap_or_default();
    if !deleted.is_empty() {
        app.print(format!("Deleted Networks:\n{}\n\n", deleted.join("\n")))?;
    }
    Ok(0)
}
