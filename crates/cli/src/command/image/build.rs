//! `build`: sends the context, shows the steps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use dray_client::api::build::{BUILD_EVENT_ID, BuildEvent, BuildResult};
use dray_client::api::progress::ProgressMessage;
use dray_client::{JsonStream, Query};

use super::build_call::Question;
use super::pull::parse;
use crate::app::App;
use crate::build_context::{self, Wanted};
use crate::build_session::Offers;
use crate::command::container::create::platform;
use crate::command_error::Error;
use crate::credential::auth_header;
use crate::flag::{Flag, NONE, Parsed, bytes, commas, int, list, switch, text};
use crate::opts::{env, host, limit, pairs};
use crate::progress::build::{Display, Style};
use crate::progress::{self, failure};
use crate::spec::{Args, Command, Done};
use crate::terminal;

const FLAGS: &[Flag] = &[
    list("add-host", NONE, "Add a line to the hosts file of RUN (name:address)")
        .check(host::check_extra_host),
    list("allow", NONE, "Let RUN have more than any container (network.host, security.insecure, device)"),
    list("build-arg", NONE, "Set a build argument; without a value, this environment's")
        .check(env::check_env),
    list("build-context", NONE, "Another context by name (name=path, docker-image://, https://)")
        .check(check_context),
    commas("cache-from", NONE, "Image to take cached steps from"),
    text("call", NONE, "What to do: build, check, outline or targets").default("build").check(check_call),
    switch("check", NONE, "Check the Dockerfile, build nothing; the same as --call=check"),
    text("cgroup-parent", NONE, "Cgroup to make those of RUN in"),
    switch("compress", NONE, "Kept for old scripts").hidden(),
    int("cpu-period", NONE, "Period of the CPU quota in microseconds").default("0"),
    int("cpu-quota", NONE, "CPU time per period in microseconds").default("0"),
    int("cpu-shares", 'c', "CPU weight, relative to others").default("0"),
    text("cpuset-cpus", NONE, "CPUs that RUN may use (0-3, 0,1)"),
    text("cpuset-mems", NONE, "Memory nodes that RUN may use (0-3, 0,1)"),
    switch("disable-content-trust", NONE, "Kept for old scripts").default("true").hidden(),
    text("file", 'f', "The Dockerfile, if it is not PATH/Dockerfile"),
    switch("force-rm", NONE, "Kept for old scripts").hidden(),
    text("iidfile", NONE, "Write the image's id to this file"),
    text("isolation", NONE, "Kind of isolation (Windows)").hidden(),
    list("label", NONE, "Set a label of the image").check(env::check_label),
    bytes("memory", 'm', "Limit of memory"),
    text("memory-swap", NONE, "Limit of memory and swap together; -1 for unlimited swap")
        .shown("bytes")
        .check(limit::check_swap),
    text("network", NONE, "Network of RUN").default("default"),
    switch("no-cache", NONE, "Carry out all steps anew"),
    text("platform", NONE, "Platform to build for"),
    text("progress", NONE, "How to show progress: auto, plain, tty or quiet")
        .default("auto")
        .check(check_progress),
    switch("pull", NONE, "Look for newer base images"),
    switch("quiet", 'q', "Show the image's id only, at the end"),
    switch("rm", NONE, "Kept for old scripts").default("true").hidden(),
    list("secret", NONE, "A secret for RUN (id=mysecret[,src=/local/secret|,env=VARIABLE])"),
    commas("security-opt", NONE, "Security option"),
    bytes("shm-size", NONE, "Size of /dev/shm in RUN"),
    list("ssh", NONE, "An SSH agent for RUN (default|<id>[=<socket>])"),
    switch("squash", NONE, "Make one layer of all new ones").hidden(),
    list("tag", 't', "Name of the image, with an optional tag").check(check_tag),
    text("target", NONE, "Stage to build"),
    list("ulimit", NONE, "Limit of the processes of RUN").shown("ulimit").check(limit::check_ulimit),
];

/// `build`
pub static COMMAND: Command = Command::new(
    "build",
    &["[OPTIONS] PATH | URL | -"],
    Args::Exactly(1),
    "Make an image from a Dockerfile",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["image build", "build", "builder build"]);

fn check_progress(value: &str) -> Result<(), String> {
    match value {
        "auto" | "plain" | "tty" | "quiet" | "rawjson" => Ok(()),
        _ => Err("must be auto, plain, tty or quiet".into()),
    }
}

fn check_context(value: &str) -> Result<(), String> {
    match value.split_once('=') {
        Some((name, context)) if !name.is_empty() && !context.is_empty() => Ok(()),
        _ => Err(format!("invalid context value: {value}, expected key=value")),
    }
}

fn check_call(value: &str) -> Result<(), String> {
    Question::parse(value).map(|_| ())
}

/// The contexts by name as the daemon takes them, and the folders that go along.
type Beside = (BTreeMap<String, String>, Vec<(String, PathBuf)>);

fn contexts(texts: &[String]) -> Result<Beside, Error> {
    let (mut contexts, mut beside) = Beside::default();
    for (name, value) in texts.iter().filter_map(|text| text.split_once('=')) {
        let is_local = !build_context::is_url(value) && !value.contains("://");
        let value = match is_local {
            false => value.to_owned(),
            true => {
                let path = std::fs::canonicalize(value).ok().filter(|path| path.is_dir());
                let missing = || format!("failed to get build context {name}: {value}: no such directory");
                let folder = beside.len().to_string();
                beside.push((folder.clone(), path.ok_or_else(|| Error::Refused(missing()))?));
                format!("local:{folder}")
            }
        };
        contexts.insert(name.to_owned(), value);
    }
    Ok((contexts, beside))
}

fn check_tag(value: &str) -> Result<(), String> {
    parse(value).map(|_| ()).map_err(|e| e.to_string())
}

async fn run(app: &App, p: Parsed) -> Done {
    let id_file = p.get("iidfile");
    if !id_file.is_empty() {
        match std::fs::remove_file(id_file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("removing image ID file: remove", id_file)(e));
            }
            _ => {}
        }
    }
    let call = Question::read(&p);
    let offers = Offers::parse(&p.all("secret"), &p.all("ssh")).map_err(Error::Refused)?;
    let (contexts, beside) = contexts(&p.all("build-context"))?;
    let wanted = Wanted { beside, definition_only: call.is_some() };
    let context = build_context::prepare(p.raw_args[0].as_ref(), p.get("file"), wanted)?;
    let quiet = p.is("quiet") || p.get("progress") == "quiet";
    let mut args = build_args(&p.all("build-arg"));
    for (name, value) in app.config().borrow().proxies(&app.client()?.endpoint().text) {
        args.entry(name).or_insert(Some(value));
    }
    let mut query = query(&p, &args, &context.dockerfile, &context.remote)?;
    if !contexts.is_empty() {
        query.add("contexts", &json(&contexts)?);
    }
    for entitlement in p.all("allow") {
        query.add("allow", &entitlement);
    }
    let auths = auth_header(&app.config().borrow().all_auths().unwrap_or_default());
    if let Some(question) = call {
        query.add("call", &question.name);
        let answer = app.client()?.build_call(query, &auths, context.upload).await?;
        return question.show(app, &answer);
    }
    if !quiet {
        query.add("dray", "1");
    }
    if !offers.is_empty() {
        let session = offers.open(app.client()?).await?;
        query.add("session", &session);
    }
    let messages = app.client()?.image_build(query, &auths, context.upload).await?;
    let id = if quiet {
        quietly(app, messages).await?
    } else if messages.headers().get("server").is_some_and(|s| s.as_bytes().starts_with(b"Dray/"))
        && app.name != "docker"
    {
        with_steps(app, messages, style(p.get("progress"))).await?
    } else {
        classic(app, messages).await?
    };
    if !id_file.is_empty() {
        if id.is_empty() {
            return Err(Error::Refused(format!(
                "server did not provide an image ID. Cannot write {id_file}"
            )));
        }
        std::fs::write(id_file, &id).map_err(Error::file("write", id_file))?;
    }
    Ok(0)
}

fn style(progress: &str) -> Style {
    let stderr = rustix::stdio::stdout();
    let live = Style::Live { coloured: terminal::is_coloured(stderr) };
    match progress {
        "plain" => Style::Plain,
        "tty" => live,
        _ if terminal::is_live(stderr) => live,
        _ => Style::Plain,
    }
}

/// Build arguments: those without a value take this environment's, and are null where there is none.
fn build_args(texts: &[String]) -> BTreeMap<String, Option<String>> {
    let one = |t: &String| match t.split_once('=') {
        Some((k, v)) => (k.to_owned(), Some(v.to_owned())),
        None => (t.clone(), std::env::var(t).ok()),
    };
    texts.iter().map(one).collect()
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|source| Error::Json { what: "build options".into(), source })
}

fn query(
    p: &Parsed,
    args: &BTreeMap<String, Option<String>>,
    dockerfile: &str,
    remote: &str,
) -> Result<Query, Error> {
    let number =
        |name: &str| Some(p.int(name)).filter(|n| *n != 0).map(|n| n.to_string()).unwrap_or_default();
    let size = |name: &str| Some(p.size(name)).filter(|n| *n != 0).map(|n| n.to_string()).unwrap_or_default();
    let swap = match p.get("memory-swap") {
        "" => String::new(),
        text => limit::swap(text).map_err(Error::Refused)?.to_string(),
    };
    let ulimits: Vec<_> =
        p.all("ulimit").iter().map(|u| limit::ulimit(u)).collect::<Result<_, _>>().map_err(Error::Refused)?;
    let mut query = Query::new()
        .with("buildargs", json(args)?)
        .with("cachefrom", json(&p.all("cache-from"))?)
        .with_some("cgroupparent", p.get("cgroup-parent"))
        .with_some("cpuperiod", number("cpu-period"))
        .with_some("cpuquota", number("cpu-quota"))
        .with_some("cpusetcpus", p.get("cpuset-cpus"))
        .with_some("cpusetmems", p.get("cpuset-mems"))
        .with_some("cpushares", number("cpu-shares"))
        .with("dockerfile", dockerfile)
        .with("labels", json(&pairs(&p.all("label")))?)
        .with_some("memory", size("memory"))
        .with_some("memswap", swap)
        .with_some("networkmode", p.get("network"))
        .with_flag("nocache", p.is("no-cache"))
        .with_some("platform", platform(p).to_lowercase())
        .with_flag("pull", p.is("pull"))
        .with_flag("q", p.is("quiet") || p.get("progress") == "quiet")
        .with_some("remote", remote)
        .with("rm", "1")
        .with_some("shmsize", size("shm-size"))
        .with_flag("squash", p.is("squash"))
        .with_some("target", p.get("target"))
        .with("ulimits", json(&ulimits)?)
        .with("version", "1");
    for tag in p.all("tag") {
        query.add("t", &tag);
    }
    for added in p.all("add-host") {
        query.add("extrahosts", &host::extra_host(&added).map_err(Error::Refused)?);
    }
    if !p.all("security-opt").is_empty() {
        query.add("securityopt", &json(&p.all("security-opt"))?);
    }
    Ok(query)
}

fn id_of(aux: serde_json::Value) -> Option<String> {
    serde_json::from_value::<BuildResult>(aux).ok().map(|r| r.id).filter(|id| !id.is_empty())
}

/// The id alone, which the daemon sends as the only output.
async fn quietly(app: &App, mut messages: JsonStream<ProgressMessage>) -> Result<String, Error> {
    let (mut id, mut said) = (String::new(), String::new());
    while let Some(message) = messages.next().await? {
        if let Some(error) = failure(&message) {
            if !said.is_empty() {
                app.warn(said.trim_end());
            }
            return Err(error);
        }
        said.push_str(&message.stream);
        if let Some(found) = message.aux.and_then(id_of) {
            id = found;
        }
    }
    if id.is_empty() {
        id = said.trim().to_owned();
    }
    app.print(format!("{id}\n"))?;
    Ok(id)
}

/// Docker's own text.
async fn classic(app: &App, messages: JsonStream<ProgressMessage>) -> Result<String, Error> {
    let mut id = String::new();
    progress::show(app, messages, |aux| {
        if let Some(found) = id_of(aux) {
            id = found;
        }
    })
    .await?;
    Ok(id)
}

/// The steps as Dray's daemon tells of them.
async fn with_steps(
    app: &App,
    mut messages: JsonStream<ProgressMessage>,
    style: Style,
) -> Result<String, Error> {
    let width = terminal::size(rustix::stdio::stdout()).map_or(80, |(_, w)| usize::from(w).max(20));
    let mut display = Display::new(style, width);
    let mut frames = tokio::time::interval(Duration::from_millis(100));
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut id = String::new();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            _ = frames.tick() => {
                app.print(display.frame())?;
                continue;
            }
        };
        let ended = match message {
            Ok(Some(message)) => match failure(&message) {
                Some(error) => Err(error),
                None => {
                    let Some(aux) = message.aux else { continue };
                    if message.id == BUILD_EVENT_ID {
                        let event = serde_json::from_value(aux).unwrap_or(BuildEvent::Unknown);
                        if let BuildEvent::Built { id: built } = &event {
                            id.clone_from(built);
                        }
                        app.print(display.event(event))?;
                    } else if let Some(found) = id_of(aux) {
                        id = found;
                    }
                    continue;
                }
            },
            Ok(None) => Ok(()),
            Err(e) => Err(e.into()),
        };
        app.print(display.finish())?;
        return ended.map(|()| id);
    }
}
