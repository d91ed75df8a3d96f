//! What happens inside of one container: `exec`, `run`, `attach`, `cp`, `commit`, `export`.

use std::cell::RefCell;

use dray_client::api::Labels;
use dray_compose::apply::{Include, OneOff, Silent, Start};
use dray_compose::model::Along;
use dray_compose::model::service::{Mount, Port, Service};
use dray_compose::parse::allowance::Allowance;
use dray_compose::parse::node::{Node, Path};
use dray_compose::parse::{port as port_spec, short};
use dray_compose::plan::label;

use super::display::Display;
use super::image::{self, Policy};
use super::project::{self, How};
use super::{delegate, engine, socket, up};
use crate::app::App;
use crate::command::container as single;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, commas, int, list, switch, text};
use crate::interrupts::{INTERRUPTED, Interrupts};
use crate::spec::{Args, Command, Done};
use crate::terminal;

const INDEX: Flag = int("index", NONE, "Number of the container, if the service has several").default("0");

/// The id of a service's container.
async fn id_of(app: &App, p: &Parsed, service: &str, all: bool) -> Result<String, Error> {
    let (_, name) = project::maybe(app, &[])?;
    let index = p.get("index").parse().unwrap_or(0);
    let found = engine(app, &Silent)?.container(&name, service, index, all).await?;
    Ok(found.summary.id)
}

/// Flags of ours as flags of the command for one container.
fn passed(p: &Parsed, switches: &[&str], texts: &[&str], lists: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = switches.iter().filter(|f| p.is(f)).map(|f| format!("--{f}")).collect();
    for flag in texts {
        if !p.get(flag).is_empty() {
            words.extend([format!("--{flag}"), p.get(flag).to_owned()]);
        }
    }
    for flag in lists {
        words.extend(p.all(flag).into_iter().flat_map(|v| [format!("--{flag}"), v]));
    }
    words
}

const EXEC_FLAGS: &[Flag] = &[
    switch("detach", 'd', "Leave the command in the background"),
    list("env", 'e', "Set an environment variable").shown("stringArray"),
    INDEX,
    switch("interactive", 'i', "Keep standard input open").default("true").hidden(),
    switch("no-tty", 'T', "Give the command no terminal"),
    switch("no-TTY", NONE, "Old name of --no-tty").hidden(),
    switch("privileged", NONE, "Give the command all privileges"),
    switch("tty", 't', "Give the command a terminal").default("true").hidden(),
    text("user", 'u', "User name or id, with a group after a colon"),
    text("workdir", 'w', "Working directory inside"),
];

/// `compose exec`
pub static EXEC: Command = Command::new(
    "exec",
    &["[OPTIONS] SERVICE COMMAND [ARGS...]"],
    Args::AtLeast(2),
    "Execute a command in a running container",
    |a, p| Box::pin(exec(a, p)),
)
.flags(&[EXEC_FLAGS])
.program();

/// Whether the command gets a terminal.
fn terminal_wanted(p: &Parsed) -> bool {
    let off = p.is("no-tty") || p.is("no-TTY") || (p.given("tty") && !p.is("tty"));
    !off && terminal::is_terminal(rustix::stdio::stdout())
}

async fn exec(app: &App, p: Parsed) -> Done {
    let id = id_of(app, &p, &p.args[0], false).await?;
    let mut words = passed(&p, &["detach", "privileged"], &["user", "workdir"], &["env"]);
    if p.is("interactive") && !p.is("detach") {
        words.push("--interactive".into());
    }
    if terminal_wanted(&p) {
        words.push("--tty".into());
    }
    words.push(id);
    words.extend(p.args[1..].iter().cloned());
    delegate(app, &single::exec::COMMAND, words).await
}

/// `compose attach`
pub static ATTACH: Command = Command::new(
    "attach",
    &["[OPTIONS] SERVICE"],
    Args::Exactly(1),
    "Attach local standard input, output, and error streams to a service's running container",
    |a, p| Box::pin(attach(a, p)),
)
.flags(&[&[
    text("detach-keys", NONE, "Keys that leave it running"),
    INDEX,
    switch("no-stdin", NONE, "Do not send standard input"),
    switch("sig-proxy", NONE, "Pass signals on to the program").default("true"),
]]);

async fn attach(app: &App, p: Parsed) -> Done {
    let mut words = passed(&p, &["no-stdin"], &["detach-keys"], &[]);
    words.push(format!("--sig-proxy={}", p.is("sig-proxy")));
    words.push(id_of(app, &p, &p.args[0], false).await?);
    delegate(app, &single::attach::COMMAND, words).await
}

/// `compose commit`
pub static COMMIT: Command = Command::new(
    "commit",
    &["[OPTIONS] SERVICE [REPOSITORY[:TAG]]"],
    Args::Range(1, 2),
    "Create a new image from a service container's changes",
    |a, p| Box::pin(commit(a, p)),
)
.flags(&[&[
    text("author", 'a', "Who made the image"),
    list("change", 'c', "Apply a Dockerfile instruction to the image"),
    INDEX,
    text("message", 'm', "Message"),
    switch("pause", 'p', "Pause the container meanwhile").default("true"),
]]);

async fn commit(app: &App, p: Parsed) -> Done {
    let mut words = passed(&p, &[], &["author", "message"], &["change"]);
    words.push(format!("--pause={}", p.is("pause")));
    words.push(id_of(app, &p, &p.args[0], true).await?);
    words.extend(p.args.get(1).cloned());
    delegate(app, &single::commit::COMMAND, words).await
}

/// `compose export`
pub static EXPORT: Command = Command::new(
    "export",
    &["[OPTIONS] SERVICE"],
    Args::Exactly(1),
    "Export a service container's filesystem as a tar archive",
    |a, p| Box::pin(export(a, p)),
)
.flags(&[&[INDEX, text("output", 'o', "Write to a file")]]);

async fn export(app: &App, p: Parsed) -> Done {
    let mut words = passed(&p, &[], &["output"], &[]);
    words.push(id_of(app, &p, &p.args[0], true).await?);
    delegate(app, &single::export::COMMAND, words).await
}

/// `compose cp`
pub static CP: Command = Command::new(
    "cp",
    &["[OPTIONS] SERVICE:SRC_PATH DEST_PATH|-", "[OPTIONS] SRC_PATH|- SERVICE:DEST_PATH"],
    Args::Exactly(2),
    "Copy files/folders between a service container and the local filesystem",
    |a, p| Box::pin(cp(a, p)),
)
.flags(&[&[
    switch("all", NONE, "Also copy to containers of run"),
    switch("archive", 'a', "Keep owners"),
    switch("follow-link", 'L', "Follow symbolic links of the source"),
    INDEX,
]]);

async fn cp(app: &App, p: Parsed) -> Done {
    let split = |text: &str| match text.split_once(':') {
        Some((service, path)) if !service.is_empty() && !service.starts_with(['.', '/']) => {
            Some((service.to_owned(), path.to_owned()))
        }
        _ => None,
    };
    let (from, to) = (split(&p.args[0]), split(&p.args[1]));
    let flags = passed(&p, &["archive", "follow-link"], &[], &[]);
    match (from, to) {
        (Some(_), Some(_)) => Err(Error::Refused("copying between services is not supported".into())),
        (None, None) => Err(Error::Refused("unknown copy direction".into())),
        (Some((service, path)), None) => {
            let id = id_of(app, &p, &service, true).await?;
            let words = flags.into_iter().chain([format!("{id}:{path}"), p.args[1].clone()]);
            delegate(app, &single::cp::COMMAND, words.collect()).await
        }
        (None, Some((service, path))) => {
            let (_, name) = project::maybe(app, &[])?;
            let index: u32 = p.get("index").parse().unwrap_or(0);
            let include = if p.is("all") { Include::All } else { Include::Services };
            let mut seen = engine(app, &Silent)?
                .containers(&name, include, true, std::slice::from_ref(&service))
                .await?;
            seen.retain(|c| index == 0 || c.number() == index);
            if seen.is_empty() {
                return Err(Error::Refused(format!("no container found for service {service:?}")));
            }
            for container in seen {
                let to = format!("{}:{path}", container.summary.id);
                let words = flags.iter().cloned().chain([p.args[0].clone(), to]).collect();
                delegate(app, &single::cp::COMMAND, words).await?;
            }
            Ok(0)
        }
    }
}

const RUN_FLAGS: &[Flag] = &[
    switch("build", NONE, "Build the image first"),
    commas("cap-add", NONE, "Add capabilities").shown("list"),
    commas("cap-drop", NONE, "Drop capabilities").shown("list"),
    switch("detach", 'd', "Leave the container in the background and print its name"),
    text("entrypoint", NONE, "Another entrypoint"),
    list("env", 'e', "Set an environment variable").shown("stringArray"),
    list("env-from-file", NONE, "Read environment variables from a file").shown("stringArray"),
    switch("interactive", 'i', "Keep standard input open").default("true"),
    list("label", 'l', "Set a label").shown("stringArray"),
    list("labels", NONE, "Other name of --label").shown("stringArray").hidden(),
    text("name", NONE, "Name of the container"),
    switch("no-deps", NONE, "Do not start what the service depends on"),
    switch("no-TTY", 'T', "Give the command no terminal"),
    list("publish", 'p', "Publish a port").shown("stringArray"),
    text("pull", NONE, "When to pull images (always, missing, never)").default("policy"),
    switch("quiet", 'q', "Show no progress"),
    switch("quiet-build", NONE, "Build without words"),
    switch("quiet-pull", NONE, "Pull without words"),
    switch("remove-orphans", NONE, "Remove containers of services that the files do not have"),
    switch("rm", NONE, "Remove the container when it ends"),
    switch("service-ports", 'P', "Publish the service's ports"),
    switch("tty", 't', "Give the command a terminal").default("true").hidden(),
    switch("use-aliases", NONE, "Let others find it by the service's names"),
    text("user", 'u', "User name or id"),
    list("volume", 'v', "Mount a volume").shown("stringArray"),
    list("volumes", NONE, "Other name of --volume").shown("stringArray").hidden(),
    text("workdir", 'w', "Working directory inside"),
];

/// `compose run`
pub static RUN: Command = Command::new(
    "run",
    &["[OPTIONS] SERVICE [COMMAND] [ARGS...]"],
    Args::AtLeast(1),
    "Run a one-off command on a service",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[RUN_FLAGS])
.program();

async fn run(app: &App, p: Parsed) -> Done {
    let name = p.args[0].clone();
    let mut project = project::load(app, std::slice::from_ref(&name), How::default())?;
    socket::give(app, &mut project)?;
    if p.is("no-deps") {
        project.select(std::slice::from_ref(&name), Along::None)?;
    }
    let display = if p.is("quiet") { Display::quiet() } else { Display::new(app, "Running")? };
    let engine = engine(app, &display)?;
    let mut dependencies = project.clone();
    dependencies.disable(std::slice::from_ref(&name));
    if !dependencies.services.is_empty() {
        up::converge(app, &dependencies, &Parsed::default(), &engine).await?;
        engine.start(&dependencies, Start::default()).await?;
    }
    let tty = terminal_wanted(&p) && !p.is("detach");
    let service = one_off(&p, project.service(&name)?.clone(), tty, &project.environment)?;
    project.services.insert(name.clone(), service.clone());
    let mut only = project.clone();
    only.services.retain(|n, _| *n == name);
    let policy = Policy {
        build: p.is("build"),
        quiet_build: p.is("quiet-build"),
        quiet_pull: p.is("quiet-pull"),
        no_build: false,
    };
    let images = image::ensure(app, &only, policy).await?;
    engine.ensure_networks(&project).await?;
    engine.ensure_volumes(&project).await?;
    let slug = slug();
    let separator = project::separator(app);
    let title = match p.get("name") {
        "" => format!("{}{separator}{name}{separator}run{separator}{}", project.name, &slug[..12]),
        given => given.to_owned(),
    };
    let mut labels = Labels::from([(label::SLUG.to_owned(), slug)]);
    for text in [p.all("label"), p.all("labels")].concat() {
        let (key, value) = text.split_once('=').unwrap_or((&text, ""));
        labels.insert(key.to_owned(), value.to_owned());
    }
    let wanted = OneOff {
        name: title.clone(),
        labels,
        attach_stdin: p.is("interactive") && !p.is("detach"),
        auto_remove: p.is("rm") && p.is("detach"),
        aliases: p.is("use-aliases"),
        image_id: images.get(&name).cloned(),
    };
    // From here on there is something to take away: nothing may cut it off in the middle.
    let mut interrupts = p.is("rm").then(Interrupts::new).transpose()?;
    let make = async {
        let id = engine.create_one_off(&project, &name, &service, &wanted).await?;
        let filled = engine.put_files(&project, &name, &service, &id).await;
        Ok::<_, Error>((id, filled))
    };
    let (made, interrupted) = carried(make, interrupts.as_mut()).await?;
    let (id, filled) = made?;
    if p.is("rm") && (interrupted || filled.is_err()) {
        remove(app, &id).await?;
    }
    filled?;
    if interrupted {
        return Ok(INTERRUPTED);
    }
    display.finish();
    if p.is("detach") {
        app.client()?.container_start(&id, "").await?;
        app.print(format!("{title}\n"))?;
        return Ok(0);
    }
    let mut words = vec!["--attach".to_owned()];
    if p.is("interactive") {
        words.push("--interactive".into());
    }
    words.push(id.clone());
    let started = delegate(app, &single::start::COMMAND, words);
    let Some(interrupts) = &mut interrupts else { return started.await };
    let done = tokio::select! {
        done = started => done,
        given_up = given_up(app, &id, tty, interrupts) => given_up.map(|()| INTERRUPTED),
    };
    carried(remove(app, &id), Some(interrupts)).await?.0?;
    done
}

/// Carries something out though it is interrupted; whether it was. Who interrupts twice does not want to wait.
async fn carried<T>(
    work: impl Future<Output = T>,
    interrupts: Option<&mut Interrupts>,
) -> Result<(T, bool), Error> {
    let Some(interrupts) = interrupts else { return Ok((work.await, false)) };
    tokio::pin!(work);
    let mut interrupted = false;
    loop {
        tokio::select! {
            done = &mut work => return Ok((done, interrupted)),
            () = interrupts.next() => {
                if std::mem::replace(&mut interrupted, true) {
                    return Err(Error::Exit(INTERRUPTED));
                }
            }
        }
    }
}

/// Waits for an interrupt that nobody else takes: signals are the program's once it runs, but those that come before
/// it, and those that come to one with a terminal, which has its keys.
async fn given_up(app: &App, id: &str, tty: bool, interrupts: &mut Interrupts) -> Result<(), Error> {
    loop {
        interrupts.next().await;
        if tty || app.client()?.container_inspect(id).await?.state.status == "created" {
            return Ok(());
        }
    }
}

/// Removes a container and its anonymous volumes; it may have gone already.
async fn remove(app: &App, id: &str) -> Result<(), Error> {
    match app.client()?.container_remove(id, true, false, true).await {
        Err(e) if !e.is_not_found() => Err(e.into()),
        _ => Ok(()),
    }
}

fn slug() -> String {
    let mut bytes = [0u8; 32];
    // Not enough randomness only makes the name less unlikely to be taken.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The service as `run` changes it.
fn one_off(
    p: &Parsed,
    mut s: Service,
    tty: bool,
    around: &std::collections::BTreeMap<String, String>,
) -> Result<Service, Error> {
    s.tty = tty;
    s.stdin_open = p.is("interactive");
    s.container_name.clear();
    s.scale = Some(1);
    s.restart.clear();
    if let Some(deploy) = &mut s.deploy {
        deploy.restart_policy = None;
        deploy.replicas = None;
    }
    if p.args.len() > 1 {
        s.command.0 = Some(p.args[1..].to_vec());
    }
    if p.given("entrypoint") {
        let words = dray_compose::model::words::split(p.get("entrypoint"));
        s.entrypoint.0 = Some(words.map_err(|e| Error::Refused(e.to_owned()))?);
        if p.args.len() == 1 {
            s.command.0 = Some(Vec::new());
        }
    }
    for (flag, field) in [("user", &mut s.user), ("workdir", &mut s.working_dir)] {
        if !p.get(flag).is_empty() {
            p.get(flag).clone_into(field);
        }
    }
    let (add, drop) = (p.all("cap-add"), p.all("cap-drop"));
    s.cap_drop.retain(|c| !add.contains(c));
    s.cap_add.retain(|c| !drop.contains(c));
    s.cap_add.extend(add);
    s.cap_drop.extend(drop);
    let set =
        crate::opts::env::environment(&p.all("env-from-file"), &p.all("env")).map_err(Error::Refused)?;
    for text in set {
        match text.split_once('=') {
            Some((name, value)) => s.environment.insert(name.to_owned(), Some(value.to_owned())),
            None => match around.get(&text) {
                Some(value) => s.environment.insert(text.clone(), Some(value.clone())),
                None => None,
            },
        };
    }
    if !p.is("service-ports") {
        s.ports.clear();
    }
    for spec in p.all("publish") {
        for port in port_spec::parse(&spec).map_err(Error::Refused)? {
            s.ports.push(read::<Port>(&port.node())?);
        }
    }
    for spec in [p.all("volume"), p.all("volumes")].concat() {
        let node = Node::from(spec.as_str());
        let none = Allowance::new(0);
        let form = short::Form { lenient: false, ports: &none, warnings: &RefCell::default() };
        let mut long = short::lengthen(node, &Path::of("services.x.volumes.[]"), &form)?;
        if let Some(source) = long.map_mut().and_then(|m| m.get_mut("source"))
            && let Some(path) = source.str().filter(|t| t.starts_with('.'))
        {
            *source = crate::opts::absolute_if_relative(path).into();
        }
        s.volumes.push(read::<Mount>(&long)?);
    }
    Ok(s)
}

fn read<T: dray_compose::model::field::Field>(node: &Node) -> Result<T, Error> {
    Ok(T::read(node, &Path::default())?)
}
