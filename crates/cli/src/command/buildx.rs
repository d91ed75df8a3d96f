//! `buildx`: its commands where the plugin is not installed. Builds go to daemons, as with buildx's driver `docker`;
//! commands that are about others say so.

use std::fmt::Write as _;

use super::bake;
use super::builder::{PRUNE, du, history};
use super::image::build;
use crate::app::App;
use crate::builder::{self, Builder};
use crate::command_error::Error;
use crate::connect;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::format::table::{self, Shape};
use crate::spec::{Args, Command, Done, Group};

/// `buildx`
pub static GROUP: Group = Group {
    name: "buildx",
    about: "Build, as with Docker's plugin of this name",
    commands: &[
        &bake::COMMAND,
        &build::COMMAND,
        &CREATE,
        &DIAL,
        &du::COMMAND,
        &IMAGETOOLS,
        &INSPECT,
        &LS,
        &PRUNE,
        &RM,
        &STOP,
        &USE,
        &VERSION,
    ],
};

/// `buildx history`
pub static HISTORY: Group =
    Group { name: "buildx history", about: history::GROUP.about, commands: history::COMMANDS };

/// A command that is about something that is not there: all of its words are passed over.
macro_rules! absent {
    ($name:ident, $word:literal, $why:literal) => {
        static $name: Command =
            Command::new($word, &["[OPTIONS]"], Args::Any, concat!("Not there: ", $why), |app, _| {
                Box::pin(async move { Err(refused(app, $word, $why)) })
            })
            .flags(&[LOOSE]);
    };
}

/// Flags of commands that are not there, so that the reason is heard and not that a flag is unknown.
const LOOSE: &[Flag] = &[
    text("driver", NONE, "").hidden(),
    text("name", NONE, "").hidden(),
    switch("use", NONE, "").hidden(),
    switch("bootstrap", NONE, "").hidden(),
    text("format", NONE, "").hidden(),
    switch("raw", NONE, "").hidden(),
    text("tag", 't', "").hidden(),
];

absent!(CREATE, "create", "Dray builds in its daemon, there are no further builders");
absent!(DIAL, "dial-stdio", "connect to the daemon's own socket");
absent!(IMAGETOOLS, "imagetools", "manifests in registries are for the plugin itself");
absent!(RM, "rm", "the daemon's own builder cannot be removed");
absent!(STOP, "stop", "the daemon's own builder ends with the daemon");

fn refused(app: &App, word: &str, why: &str) -> Error {
    Error::Refused(format!("{}: '{0} buildx {word}' is not there: {why}", app.name))
}

static INSPECT: Command =
    Command::new("inspect", &["[OPTIONS] [NAME]"], Args::AtMost(1), "Show a builder", |app, p| {
        Box::pin(inspect(app, p))
    })
    .flags(&[&[switch("bootstrap", NONE, "See that it runs"), text("builder", NONE, "Its name").hidden()]]);

static LS: Command = Command::new(
    "ls",
    &["[OPTIONS]"],
    Args::No,
    "List builders: contexts, and those that buildx keeps",
    |app, p| Box::pin(list(app, p)),
)
.flags(&[&[switch("no-trunc", NONE, "Kept for scripts of buildx")]]);

static USE: Command =
    Command::new("use", &["[OPTIONS] NAME"], Args::Exactly(1), "Choose a builder", |app, p| {
        Box::pin(choose(app, p))
    })
    .flags(&[&[
        switch("default", NONE, "Kept for scripts of buildx"),
        switch("global", NONE, "Choose it for all contexts"),
    ]]);

static VERSION: Command =
    Command::new("version", &[""], Args::No, "Show the version", |app, _| Box::pin(version(app)));

/// What a builder's daemon says of itself.
struct Running {
    version: String,
    platform: String,
}

impl Running {
    async fn of(app: &App, builder: &Builder) -> Result<Running, Error> {
        // One of several builders: what commands speak with is not decided by it.
        let server = connect::client_at(builder.endpoint(app)?).server_version().await?;
        Ok(Running { version: server.version, platform: format!("{}/{}", server.os, server.arch) })
    }
}

fn driver(builder: &Builder) -> &str {
    if builder.driver.is_empty() { builder::DOCKER } else { &builder.driver }
}

async fn inspect(app: &App, p: Parsed) -> Done {
    let variable = std::env::var("BUILDX_BUILDER").unwrap_or_default();
    let given = [p.args.first().map_or("", String::as_str), p.get("builder"), &variable];
    let builder = match given.into_iter().find(|name| !name.is_empty()) {
        Some(name) => builder::named(app, name)?,
        None => builder::current(app)?,
    };
    let mut out = format!("Name:   {}\nDriver: {}\n\nNodes:\n", builder.name, driver(&builder));
    for node in &builder.nodes {
        let _ = write!(out, "Name:             {}\nEndpoint:         {}\n", node.name, node.endpoint);
    }
    match Running::of(app, &builder).await {
        Ok(running) => {
            let _ = write!(
                out,
                "Status:           running\nBuildKit version: {}\nPlatforms:        {}\n",
                running.version, running.platform
            );
        }
        Err(error) => {
            let _ = writeln!(out, "Error:            {error}");
        }
    }
    app.print(out)?;
    Ok(0)
}

async fn list(app: &App, _: Parsed) -> Done {
    let current = builder::current(app)?.name;
    let mut rows = vec!["NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tBUILDKIT\tPLATFORMS\n".to_owned()];
    let mut failed = Vec::new();
    for builder in builder::all(app)? {
        let star = if builder.name == current { "*" } else { "" };
        rows.push(format!("{}{star}\t{}\t\t\t\n", builder.name, driver(&builder)));
        let running = Running::of(app, &builder).await;
        for node in &builder.nodes {
            let (status, version, platform) = match &running {
                Ok(running) => ("running", running.version.as_str(), running.platform.as_str()),
                Err(_) => ("error", "", ""),
            };
            let (name, endpoint) = (&node.name, &node.endpoint);
            rows.push(format!(" \\_ {name}\t \\_ {endpoint}\t{status}\t{version}\t{platform}\n"));
        }
        failed.extend(running.err().map(|error| format!("Cannot load builder {}: {error}", builder.name)));
    }
    let text = table::align(&rows.concat(), Shape::default());
    app.print(text.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>())?;
    if !failed.is_empty() {
        app.warn(format!("\n{}", failed.join("\n")));
    }
    Ok(0)
}

async fn choose(app: &App, p: Parsed) -> Done {
    builder::set_current(app, &p.args[0], p.is("global")).map(|()| 0)
}

async fn version(app: &App) -> Done {
    app.print(format!("github.com/docker/buildx dray-{} {}\n", env!("CARGO_PKG_VERSION"), app.commit))?;
    Ok(0)
}
