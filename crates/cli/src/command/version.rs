//! `version` and `--version`.

use std::collections::BTreeMap;

use dray_client::api::API_VERSION;
use dray_client::api::system::{ComponentVersion, Version};
use jiff::tz::TimeZone;

use crate::app::App;
use crate::command::format_flag_f;
use crate::command::system::info::as_field_of;
use crate::command_error::Error;
use crate::context;
use crate::flag::Parsed;
use crate::format::table::{Shape, align};
use crate::format::time::parse_rfc3339;
use crate::spec::{Args, Command, Done};
use crate::template::{Mode, Template};
use crate::value::Value;

/// The version of Docker's command line that this one follows: what tools find when it is called `docker`.
const FOLLOWS: &str = "28.2.2";
const OWN: &str = env!("CARGO_PKG_VERSION");

/// `version`
pub static COMMAND: Command =
    Command::new("version", &["[OPTIONS]"], Args::No, "Show the versions of client and daemon", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[&[format_flag_f("Format of the output: json, or a Go template")]]);

/// `--version`: one line.
///
/// # Errors
/// Nobody reads it.
pub fn short(app: &App) -> Done {
    let line = if app.name == "docker" {
        format!("Docker version {FOLLOWS}, build dray-{OWN}\n")
    } else {
        format!("Dray version {OWN}, build {}\n", app.commit)
    };
    app.print(line)?;
    Ok(0)
}

async fn run(app: &App, p: Parsed) -> Done {
    let template = match p.get("format") {
        "" => None,
        "json" => Some("{{json .}}"),
        text => Some(text),
    };
    let refuse = |e| Error::Refused(format!("template parsing error: {e}")).with_code(64);
    let template = template.map(|t| Template::parse(t).map_err(refuse)).transpose()?;
    let (server, failure) = match app.client() {
        Ok(client) => match client.server_version().await {
            Ok(server) => (Some(server), None),
            Err(e) => (None, Some(Error::from(e))),
        },
        Err(e) => (None, Some(e)),
    };
    let api = app.client().map_or_else(|_| API_VERSION.to_owned(), |c| c.version());
    let client = client_version(app, &api);
    let text = match template {
        None => {
            let mut text = client_text(app, &api);
            if let Some(server) = &server {
                text.push_str(&server_text(server));
            }
            align(&text, Shape { min_width: 20, padding: 1 })
        }
        Some(template) => {
            let server = match &server {
                Some(s) => Value::of(s).map_err(|source| Error::Json { what: "version".into(), source })?,
                None => Value::NilPointer,
            };
            let all = Value::Struct(vec![("Client".into(), client), ("Server".into(), server)]);
            let mut text = String::new();
            let run = template.run(&all, Mode::Data, &mut text);
            text.push('\n');
            if let Err(e) = run {
                app.print(&text)?;
                return Err(Error::Refused(in_version_template(&e.to_string())));
            }
            text
        }
    };
    app.print(text)?;
    match failure {
        None => Ok(0),
        Some(e) => Err(e),
    }
}

/// Docker's template for versions has a name, which its errors tell.
fn in_version_template(text: &str) -> String {
    let named = text.replacen("template: :", "template: version:", 1).replacen(
        "executing \"\"",
        "executing \"version\"",
        1,
    );
    as_field_of(&named, "*types.Version")
}

/// What is known of this client, as `.Client` and `.ClientInfo` show it.
pub fn client_version(app: &App, api: &str) -> Value {
    let version = if app.name == "docker" { FOLLOWS } else { OWN };
    let fields = [
        ("Version", version),
        ("ApiVersion", api),
        ("DefaultAPIVersion", API_VERSION),
        ("GitCommit", app.commit),
        ("GoVersion", ""),
        ("Os", "linux"),
        ("Arch", arch()),
        ("BuildTime", ""),
        ("Context", &context::current(app)),
    ];
    Value::Struct(fields.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect())
}

/// The machine as Go names it.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn client_text(app: &App, api: &str) -> String {
    let downgraded =
        if api == API_VERSION { String::new() } else { format!(" (downgraded from {API_VERSION})") };
    let version = if app.name == "docker" { format!("{FOLLOWS} (Dray {OWN})") } else { OWN.to_owned() };
    format!(
        "Client: Dray\n Version:\t{version}\n API version:\t{api}{downgraded}\n Git commit:\t{}\n OS/Arch:\tlinux/{}\n Context:\t{}\n",
        app.commit,
        arch(),
        context::current(app)
    )
}

fn server_text(server: &Version) -> String {
    let mut out = String::from("\nServer:");
    if let Some(platform) = server.platform.as_ref().filter(|p| !p.name.is_empty()) {
        out.push_str(&format!(" {}", platform.name));
    }
    out.push('\n');
    for component in components(server) {
        let details = component.details.clone().unwrap_or_default();
        out.push_str(&format!(" {}:\n  Version:\t{}\n", component.name, component.version));
        if component.name == "Engine" {
            out.push_str(&engine_text(&details));
        } else {
            for (key, value) in details.iter().filter(|(_, v)| !v.is_empty()) {
                out.push_str(&format!("  {key}:\t{value}\n"));
            }
        }
    }
    out
}

fn engine_text(details: &BTreeMap<String, String>) -> String {
    let get = |key: &str| details.get(key).map_or("", String::as_str);
    let mut out =
        format!("  API version:\t{} (minimum version {})\n", get("ApiVersion"), get("MinAPIVersion"));
    let built = ansi_date(get("BuildTime"));
    for (label, value) in
        [("Go version", get("GoVersion")), ("Git commit", get("GitCommit")), ("Built", &built)]
    {
        // A daemon that is not written in Go has no version of it.
        if !value.is_empty() {
            out.push_str(&format!("  {label}:\t{value}\n"));
        }
    }
    out.push_str(&format!(
        "  OS/Arch:\t{}/{}\n  Experimental:\t{}\n",
        get("Os"),
        get("Arch"),
        get("Experimental")
    ));
    out
}

/// The daemon's parts; one that does not list them is an engine alone.
fn components(server: &Version) -> Vec<ComponentVersion> {
    if server.components.iter().any(|c| c.name == "Engine") {
        return server.components.clone();
    }
    let details = [
        ("ApiVersion", server.api_version.as_str()),
        ("MinAPIVersion", &server.min_api_version),
        ("GitCommit", &server.git_commit),
        ("GoVersion", &server.go_version),
        ("Os", &server.os),
        ("Arch", &server.arch),
        ("BuildTime", &server.build_time),
        ("Experimental", if server.experimental { "true" } else { "false" }),
    ];
    let details = details.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let engine =
        ComponentVersion { name: "Engine".into(), version: server.version.clone(), details: Some(details) };
    server.components.iter().cloned().chain([engine]).collect()
}

/// `Mon Jan  2 15:04:05 2006`
fn ansi_date(stamp: &str) -> String {
    match parse_rfc3339(stamp) {
        Some(t) => t.to_zoned_datetime(TimeZone::UTC).strftime("%a %b %e %H:%M:%S %Y").to_string(),
        None => stamp.to_owned(),
    }
}
