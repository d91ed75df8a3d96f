//! Contexts: which daemons there are to speak to.

mod archive;
mod choose;
mod create;
mod endpoint;
mod inspect;
mod rm;
mod update;

use crate::app::App;
use crate::command::format_flag;
use crate::connect;
use crate::context;
use crate::flag::{Flag, Parsed, switch};
use crate::format::listing::{Format, Titles};
use crate::format::natural::natural;
use crate::spec::{Args, Command, Done, Group};
use crate::value::{Row, Value};

/// `context`
pub static GROUP: Group = Group {
    name: "context",
    about: "Manage contexts",
    commands: &[
        &create::COMMAND,
        &archive::EXPORT,
        &archive::IMPORT,
        &inspect::COMMAND,
        &LS,
        &rm::COMMAND,
        &SHOW,
        &update::COMMAND,
        &choose::COMMAND,
    ],
};

/// Writes a context down, with its certificates if they are others now, and says what was done.
fn keep(app: &App, meta: &context::Meta, tls: Option<&context::TlsFiles>, done: &str) -> Done {
    context::put(app, meta, tls)?;
    app.print(format!("{}\n", meta.name))?;
    app.warn(format!("Successfully {done} context {:?}", meta.name));
    Ok(0)
}

const FLAGS: &[Flag] = &[
    format_flag("Format of the output: table, 'table TEMPLATE', json, or a Go template"),
    switch("quiet", 'q', "Show names only"),
];

static LS: Command = Command::new("ls", &["[OPTIONS]"], Args::No, "List contexts", |a, p| Box::pin(ls(a, p)))
    .flags(&[FLAGS])
    .aliases(&["list"])
    .also(&["context ls", "context list"]);

static SHOW: Command =
    Command::new("show", &[""], Args::No, "Show the context in use", |a, p| Box::pin(show(a, p)));

const TITLES: Titles = &[
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("DockerEndpoint", "DOCKER ENDPOINT"),
    ("Current", "CURRENT"),
    ("Error", "ERROR"),
];

async fn ls(app: &App, p: Parsed) -> Done {
    let format = Format::parse(match p.get("format") {
        "" | "table" if p.is("quiet") => "{{.Name}}",
        "" | "table" => "table {{.Name}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
        other => other,
    })?;
    let current = context::current(app);
    let marked = matches!(p.get("format"), "" | "table") && !p.is("quiet");
    let row = |name: &str, description: &str, host: &str, is_current: bool| {
        // The table marks the current one in its name.
        let mark = if marked && is_current { " *" } else { "" };
        row(&format!("{name}{mark}"), description, host, is_current)
    };
    let here = connect::default_host(app);
    let mut all = context::list(app);
    let mut default = context::Meta::of(context::DEFAULT, &here, false);
    default.describe(context::DEFAULT_DESCRIPTION);
    all.push(default);
    all.sort_by(|a, b| natural(&a.name, &b.name));
    let rows: Vec<Row> =
        all.iter().map(|m| row(&m.name, m.description(), m.host(), m.name == current)).collect();
    app.print(format.render(TITLES, rows)?)?;
    let over = std::env::var("DOCKER_HOST").is_ok_and(|host| !host.is_empty());
    if marked && over && app.globals.get("context").is_empty() {
        app.warn(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use a context, either set \
             the global --context flag, or unset DOCKER_HOST environment variable.",
        );
    }
    Ok(0)
}

fn row(name: &str, description: &str, host: &str, current: bool) -> Row {
    let fields: Vec<(&'static str, Value)> = vec![
        ("Name", name.into()),
        ("Description", description.into()),
        ("DockerEndpoint", host.into()),
        ("Current", current.into()),
        ("Error", "".into()),
    ];
    Row { type_name: "*formatter.clientContextContext", fields, labels: None }
}

async fn show(app: &App, _: Parsed) -> Done {
    app.print(format!("{}\n", context::current(app)))?;
    Ok(0)
}
