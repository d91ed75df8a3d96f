//! `buildx`: its commands where the plugin is not installed. Builds go to the one builder that there is, the daemon, as with
//! buildx's driver `docker`; commands that are about others say so.

use super::bake;
use super::builder::{self, du, history};
use super::image::build;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
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
        &builder::PRUNE,
        &RM,
        &STOP,
        &USE,
        &VERSION,
    ],
};

/// `buildx history`
pub static HISTORY: Group =
    Group { name: "buildx history", about: history::GROUP.about, commands: history::COMMANDS };

/// The one builder.
const BUILDER: &str = "default";

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

static INSPECT: Command = Command::new(
    "inspect",
    &["[OPTIONS] [NAME]"],
    Args::AtMost(1),
    "Show the builder: the daemon",
    |app, p| Box::pin(inspect(app, p)),
)
.flags(&[&[switch("bootstrap", NONE, "See that it runs"), text("builder", NONE, "Its name").hidden()]]);

static LS: Command =
    Command::new("ls", &["[OPTIONS]"], Args::No, "List builders: there is the daemon", |app, p| {
        Box::pin(list(app, p))
    })
    .flags(&[&[switch("no-trunc", NONE, "Kept for scripts of buildx")]]);

static USE: Command =
    Command::new("use", &["[OPTIONS] NAME"], Args::Exactly(1), "Choose a builder: default", |app, p| {
        Box::pin(choose(app, p))
    })
    .flags(&[&[
        switch("default", NONE, "Kept for scripts of buildx"),
        switch("global", NONE, "Kept for scripts of buildx"),
    ]]);

static VERSION: Command =
    Command::new("version", &[""], Args::No, "Show the version", |app, _| Box::pin(version(app)));

fn check(name: &str) -> Result<(), Error> {
    match name {
        "" | BUILDER => Ok(()),
        other => Err(Error::Refused(format!("no builder {other:?} found"))),
    }
}

async fn inspect(app: &App, p: Parsed) -> Done {
    check(p.args.first().map_or(p.get("builder"), String::as_str))?;
    let server = app.client()?.server_version().await?;
    app.print(format!(
        "Name:   {BUILDER}\nDriver: docker\n\nNodes:\nName:             {BUILDER}\nEndpoint:         {BUILDER}\n\
         Status:           running\nBuildKit version: {}\nPlatforms:        {}/{}\n",
        server.version, server.os, server.arch
    ))?;
    Ok(0)
}

async fn list(app: &App, _: Parsed) -> Done {
    let server = app.client()?.server_version().await?;
    let platform = format!("{}/{}", server.os, server.arch);
    let rows = [
        ["NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS"],
        ["default*", "docker", "", "", ""],
        [" \\_ default", " \\_ default", "running", &server.version, &platform],
    ];
    let text: String = rows
        .iter()
        .map(|[name, driver, status, version, platforms]| {
            let line = format!("{name:<13} {driver:<17} {status:<9} {version:<10} {platforms}");
            line.trim_end().to_owned() + "\n"
        })
        .collect();
    app.print(text)?;
    Ok(0)
}

async fn choose(_: &App, p: Parsed) -> Done {
    check(&p.args[0]).map(|()| 0)
}

async fn version(app: &App) -> Done {
    app.print(format!("github.com/docker/buildx dray-{} {}\n", env!("CARGO_PKG_VERSION"), app.commit))?;
    Ok(0)
}
