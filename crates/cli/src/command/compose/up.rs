//! `compose up` and `create`: images, networks, volumes, containers; then all started in order, and their output
//! shown until they end or the user has enough.

use std::cell::RefCell;
use std::pin::Pin;
use std::time::Duration;

use dray_compose::apply::{Engine, Include, Replacement, Start};
use dray_compose::model::Along;
use dray_compose::plan::{self, Plan, Recreate, Seen};
use dray_compose::{Project, model::consistent};
use futures_util::future::try_join_all;
use tokio::sync::{mpsc, watch};

use super::crowd::Crowd;
use super::display::Display;
use super::follow::{Begin, Ended, Follower, Member};
use super::image::{self, Policy};
use super::menu::{self, Key, Menu};
use super::output::{self, Output};
use super::project::{self, How};
use super::provider;
use super::watch::Watch;
use super::{engine, say, socket};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, int, list, switch, text};
use crate::interrupts::{INTERRUPTED, Interrupts};
use crate::spec::{Args, Command, Done};

/// What is said to one who wants files watched where nothing says which.
const NOT_WATCHED: &str =
    "Watch →  watch is not yet configured. Learn more: https://docs.docker.com/compose/file-watch/";

/// Flags of all commands that make containers.
const CREATE_FLAGS: &[Flag] = &[
    switch("build", NONE, "Build images before starting containers"),
    switch("force-recreate", NONE, "Make containers anew even if nothing has changed"),
    switch("no-build", NONE, "Build no image, even if it is missing"),
    switch("no-recreate", NONE, "Leave containers that exist as they are"),
    text("pull", NONE, "When to pull images (always, missing, never)").default("policy"),
    switch("quiet-pull", NONE, "Pull without words"),
    switch("remove-orphans", NONE, "Remove containers of services that the files do not have"),
    list("scale", NONE, "How many containers a service has (SERVICE=NUM)").shown("scale"),
    switch("y", NONE, "Old name of --yes").hidden(),
    switch("yes", 'y', "Answer yes to all questions"),
];

const UP_FLAGS: &[Flag] = &[
    switch("abort-on-container-exit", NONE, "Stop all if any container stops"),
    switch("abort-on-container-failure", NONE, "Stop all if any container fails"),
    switch("always-recreate-deps", NONE, "Make dependencies anew"),
    list("attach", NONE, "Show the output of these services only").shown("stringArray"),
    switch("attach-dependencies", NONE, "Show the output of dependencies too"),
    switch("detach", 'd', "Leave the containers in the background"),
    text("exit-code-from", NONE, "Exit with the code of this service's container"),
    switch("menu", NONE, "Offer keys while attached"),
    list("no-attach", NONE, "Do not show the output of these services").shown("stringArray"),
    switch("no-color", NONE, "Show names without colours"),
    switch("no-deps", NONE, "Do not start what the services depend on"),
    switch("no-log-prefix", NONE, "Show output without names"),
    switch("no-start", NONE, "Make the containers, but do not start them"),
    switch("quiet-build", NONE, "Build without words"),
    switch("renew-anon-volumes", 'V', "Make anonymous volumes anew"),
    int("timeout", 't', "How many seconds containers have to stop").default("0"),
    switch("timestamps", NONE, "Show when each line was written"),
    switch("wait", NONE, "Wait until services run or are healthy; implies -d"),
    int("wait-timeout", NONE, "For how many seconds at most").default("0"),
    switch("watch", 'w', "Watch files while attached"),
];

/// `compose up`
pub static UP: Command =
    Command::new("up", &["[OPTIONS] [SERVICE...]"], Args::Any, "Create and start containers", |a, p| {
        Box::pin(up(a, p))
    })
    .flags(&[CREATE_FLAGS, UP_FLAGS]);

/// `compose create`
pub static CREATE: Command = Command::new(
    "create",
    &["[OPTIONS] [SERVICE...]"],
    Args::Any,
    "Creates containers for a service",
    |a, p| Box::pin(create(a, p)),
)
.flags(&[CREATE_FLAGS]);

/// Whether all questions are answered with yes.
pub fn agreed(p: &Parsed) -> bool {
    if p.is("y") {
        say::warn("--y is deprecated, please use --yes instead");
    }
    p.is("yes") || p.is("y")
}

fn refused<T>(text: &str) -> Result<T, Error> {
    Err(Error::Refused(text.to_owned()))
}

fn check(p: &Parsed) -> Result<(), Error> {
    let abort = p.is("abort-on-container-exit")
        || (!p.get("exit-code-from").is_empty() && !p.is("abort-on-container-failure"));
    let attaches = p.is("attach-dependencies") || !p.all("attach").is_empty();
    if p.is("abort-on-container-exit") && p.is("abort-on-container-failure") {
        return refused("--abort-on-container-failure cannot be combined with --abort-on-container-exit");
    }
    if p.is("wait") && (attaches || abort) {
        return refused(
            "--wait cannot be combined with --abort-on-container-exit, --attach or --attach-dependencies",
        );
    }
    if p.is("build") && p.is("no-build") {
        return refused("--build and --no-build are incompatible");
    }
    if (p.is("detach") || p.is("wait"))
        && (attaches || abort || p.is("abort-on-container-failure") || p.is("watch"))
    {
        return refused(
            "--detach cannot be combined with --abort-on-container-exit, --abort-on-container-failure, --attach, --attach-dependencies or --watch",
        );
    }
    for (a, b) in [
        ("no-recreate", "renew-anon-volumes"),
        ("force-recreate", "no-recreate"),
        ("always-recreate-deps", "no-recreate"),
        ("no-build", "watch"),
    ] {
        if p.is(a) && p.is(b) {
            return refused(&format!("--{a} and --{b} are incompatible"));
        }
    }
    Ok(())
}

/// The project with what flags change of it.
fn prepared(app: &App, p: &Parsed) -> Result<Project, Error> {
    let mut project = project::load(app, &p.args, How::default())?;
    socket::give(app, &mut project)?;
    if p.given("no-deps") && p.is("no-deps") {
        project.select(&p.args, Along::None)?;
    }
    match p.get("pull") {
        "policy" => {}
        "always" | "missing" | "never" | "build" => {
            let pull = p.get("pull").to_owned();
            project.services.values_mut().for_each(|s| s.pull_policy.clone_from(&pull));
        }
        other => return refused(&format!("invalid --pull option {other:?}")),
    }
    if let Some((name, _)) = project.services.iter().find(|(_, s)| !s.models.is_empty()) {
        // Docker Compose asks a plug-in of its own for them, and says the same without it.
        return refused(&format!("services.{name}.models: 'models' support requires Docker Model plugin"));
    }
    scale(&mut project, &p.all("scale"))?;
    consistent::unique_container_names(&project)?;
    Ok(project)
}

/// Applies `SERVICE=NUM`.
///
/// # Errors
/// It is none, or there is no such service.
pub fn scale(project: &mut Project, scales: &[String]) -> Result<(), Error> {
    for text in scales {
        let Some((name, count)) = text.split_once('=') else {
            return refused(&format!("invalid --scale option {text:?}. Should be SERVICE=NUM"));
        };
        let count: i64 = count
            .parse()
            .map_err(|_| Error::Refused(format!("strconv.Atoi: parsing {count:?}: invalid syntax")))?;
        project.service(name)?;
        if let Some(service) = project.services.get_mut(name) {
            service.set_replicas(count);
        }
    }
    Ok(())
}

fn timeout(p: &Parsed) -> Option<i64> {
    if p.given("timeout") { p.get("timeout").parse().ok() } else { None }
}

/// Brings images, networks, volumes and containers to where they should be; nothing is started.
///
/// # Errors
/// The daemon refuses.
pub async fn converge(app: &App, project: &Project, p: &Parsed, engine: &Engine<'_>) -> Result<Plan, Error> {
    converge_rolling(app, project, p, engine, None).await
}

/// As [`converge`]; with `rolled`, services with `deploy.update_config` are left for the start to roll out.
///
/// # Errors
/// The daemon refuses.
pub async fn converge_rolling(
    app: &App,
    project: &Project,
    p: &Parsed,
    engine: &Engine<'_>,
    rolled: Option<&RefCell<Vec<Replacement>>>,
) -> Result<Plan, Error> {
    let policy = Policy {
        build: p.is("build"),
        no_build: p.is("no-build"),
        quiet_pull: p.is("quiet-pull"),
        quiet_build: p.given("quiet-build") && p.is("quiet-build"),
    };
    let images = image::ensure(app, project, policy).await?;
    let networks = engine.ensure_networks(project).await?;
    engine.ensure_volumes(project).await?;
    let seen = engine.containers(&project.name, Include::All, true, &[]).await?;
    let recreate = if p.is("force-recreate") {
        Recreate::Force
    } else if p.is("no-recreate") {
        Recreate::Never
    } else {
        Recreate::Diverged
    };
    let recreate_dependencies = if p.given("always-recreate-deps") {
        Recreate::Force
    } else if recreate == Recreate::Force {
        Recreate::Diverged
    } else {
        recreate
    };
    let options = plan::Options {
        named: p.args.clone(),
        recreate,
        recreate_dependencies,
        images: images.clone(),
        networks,
    };
    let plan = plan::plan(project, &seen, &options);
    if !plan.orphans.is_empty() {
        orphans(&plan.orphans, p, engine).await?;
    }
    let inherit = !(p.given("renew-anon-volumes") && p.is("renew-anon-volumes"));
    engine.create(project, &plan, &images, inherit, timeout_of(p), rolled).await?;
    Ok(plan)
}

fn timeout_of(p: &Parsed) -> Option<i64> {
    if p.given("timeout") { timeout(p) } else { None }
}

async fn orphans(found: &[Seen], p: &Parsed, engine: &Engine<'_>) -> Result<(), Error> {
    let on = |name: &str| matches!(std::env::var(name).unwrap_or_default().as_str(), "1" | "true");
    if p.is("remove-orphans") || on("COMPOSE_REMOVE_ORPHANS") {
        engine.remove_orphans(found, None).await?;
    } else if !on("COMPOSE_IGNORE_ORPHANS") {
        let names: Vec<&str> = found.iter().map(Seen::name).collect();
        say::warn(&format!(
            "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your compose file, you can run this command with the --remove-orphans flag to clean it up.",
            names.join(" ")
        ));
    }
    Ok(())
}

async fn create(app: &App, p: Parsed) -> Done {
    if p.is("build") && p.is("no-build") {
        return refused("--build and --no-build are incompatible");
    }
    let project = prepared(app, &p)?;
    let display = Display::new(app, "Creating")?;
    converge(app, &project, &p, &engine(app, &display)?).await?;
    Ok(0)
}

async fn up(app: &App, p: Parsed) -> Done {
    check(&p)?;
    let mut project = prepared(app, &p)?;
    let display = Display::new(app, "Running")?;
    let engine = engine(app, &display)?;
    provider::up(app, &mut project)?;
    // Who looks at the output sees containers made anew all at once, as with Docker Compose.
    let detached = (p.is("detach") || p.is("wait")) && !p.is("no-start");
    let rolled = RefCell::new(Vec::new());
    converge_rolling(app, &project, &p, &engine, detached.then_some(&rolled)).await?;
    if p.is("no-start") {
        return Ok(0);
    }
    if p.is("detach") || p.is("wait") {
        let seconds: u64 = p.get("wait-timeout").parse().unwrap_or(0);
        let limit = (seconds > 0).then(|| Duration::from_secs(seconds));
        let rolled = rolled.into_inner();
        let how = Start { wait: p.is("wait"), timeout: limit, hooks: None, rolled: &rolled };
        engine.start(&project, how).await?;
        return Ok(0);
    }
    if app.group.is("dry-run") {
        // Nobody is there to be listened to.
        engine.start(&project, Start::default()).await?;
        return Ok(0);
    }
    display.finish();
    Attached { app, p: &p, project: &project, engine: &engine }.run().await
}

struct Attached<'a> {
    app: &'a App,
    p: &'a Parsed,
    project: &'a Project,
    engine: &'a Engine<'a>,
}

impl Attached<'_> {
    fn wanted(&self) -> Result<Vec<String>, Error> {
        let (p, project) = (self.p, self.project);
        let mut names: Vec<String> = p.all("attach");
        let unknown: Vec<&String> = names.iter().filter(|n| !project.services.contains_key(*n)).collect();
        if let Some(first) = unknown.first() {
            return refused(&format!("cannot attach to services not included in up: {first}"));
        }
        if names.is_empty() {
            let all = p.args.is_empty() || p.is("attach-dependencies");
            let shown = project.services.iter().filter(|(n, s)| {
                (all || p.args.contains(n)) && s.attach.unwrap_or(true) && s.provider.is_none()
            });
            names = shown.map(|(n, _)| n.clone()).collect();
        }
        let off = p.all("no-attach");
        names.retain(|n| !off.contains(n));
        Ok(names)
    }

    async fn run(&self) -> Done {
        let p = self.p;
        let wanted = self.wanted()?;
        let output = Output::new(self.app, p.is("no-color"), p.is("no-log-prefix"), p.is("timestamps"))
            .above(Menu::of(self.app, p));
        let seen = self.engine.containers(&self.project.name, Include::Services, true, &[]).await?;
        let shown: Vec<&Seen> = seen.iter().filter(|c| wanted.iter().any(|n| n == c.service())).collect();
        shown.iter().for_each(|c| output.register(&output::short_name(c)));
        let names: Vec<&str> = shown.iter().map(|c| c.name()).collect();
        if !names.is_empty() {
            let names: Vec<String> = shown.iter().map(|c| output::short_name(c)).collect();
            output.say(&format!("Attaching to {}", names.join(", ")));
        }
        let client = self.app.client()?;
        let (stopped, see_stopped) = watch::channel(false);
        let follower = Follower { client, output: &output, times: false, until: String::new() };
        let mut crowd = Crowd::of(&follower, &self.project.name, Some(wanted)).await?;
        let begins = shown.iter().map(async |container| {
            let member = Member::from(*container);
            let begin = if container.is_running() {
                Begin::End
            } else {
                Begin::Joined(Box::new(follower.join(&member, see_stopped.clone()).await?))
            };
            Ok::<_, Error>((member, begin))
        });
        for (member, begin) in try_join_all(begins).await? {
            crowd.add(member, begin);
        }
        let hooks = Start { hooks: Some(&output), ..Start::default() };
        let start = self.engine.start(self.project, hooks);
        tokio::pin!(start);
        let mut watching: Watching<'_> = None;
        if p.is("watch") {
            self.begin_to_watch(&output, &mut watching)?;
        }
        let mut keys = output.menu().map(|_| Menu::keys());
        let mut started = false;
        let mut stopping = false;
        let mut code = 0;
        let mut interrupts = Interrupts::new()?;
        loop {
            tokio::select! {
                // Nothing more is started once all is to stop.
                done = &mut start, if !started && !stopping => {
                    started = true;
                    done?;
                    if crowd.is_empty() {
                        return Ok(code);
                    }
                }
                ended = crowd.next(), if !(stopping && crowd.is_quiet()) => {
                    let ended: Ended = ended?;
                    if ended.service == p.get("exit-code-from") {
                        // One that never ran has not ended well.
                        code = if ended.ran { ended.code } else { code.max(1) };
                    }
                    let fails = p.is("abort-on-container-failure") && ended.code != 0;
                    let exits = p.is("abort-on-container-exit") || !p.get("exit-code-from").is_empty();
                    if (fails || exits) && !stopping {
                        if p.get("exit-code-from").is_empty() {
                            code = ended.code;
                        }
                        stopping = true;
                        output.end_menu();
                        eprintln!("Aborting on container exit...");
                        self.stop().await?;
                        stopped.send_replace(true);
                    }
                    if (started && crowd.is_empty()) || (stopping && crowd.is_quiet()) {
                        return Ok(code);
                    }
                }
                failed = next(&mut watching), if started && !stopping => failed?,
                Some(bytes) = typed(&mut keys), if !stopping => {
                    for key in menu::pressed(&bytes) {
                        match key {
                            Key::Watch => self.toggle_watch(&output, &mut watching),
                            Key::Enter => output.say(""),
                        }
                    }
                }
                () = noted(&output) => output.refresh(),
                () = interrupts.next() => {
                    if stopping {
                        self.kill(&seen).await?;
                        return Ok(INTERRUPTED);
                    }
                    stopping = true;
                    output.end_menu();
                    output.say("Gracefully Stopping... press Ctrl+C again to force");
                    tokio::select! {
                        done = self.stop() => done?,
                        () = interrupts.next() => self.kill(&seen).await?,
                    }
                    stopped.send_replace(true);
                    if code == 0 {
                        code = INTERRUPTED;
                    }
                    if crowd.is_quiet() {
                        return Ok(code);
                    }
                }
                else => return Ok(code),
            }
        }
    }

    fn begin_to_watch<'b>(&'b self, output: &'b Output, watching: &mut Watching<'b>) -> Result<(), Error> {
        let watch = Watch::new(self.app, self.project, &self.p.args)?.beside(output);
        *watching = Some(Box::pin(watch.run()));
        if let Some(menu) = output.menu() {
            menu.set_watching(true);
        }
        Ok(())
    }

    /// Begins to watch files, or ends it.
    fn toggle_watch<'b>(&'b self, output: &'b Output, watching: &mut Watching<'b>) {
        let Some(menu) = output.menu() else { return };
        if watching.take().is_some() {
            menu.set_watching(false);
            output.say("⦿ Watch disabled");
        } else if self.begin_to_watch(output, watching).is_err() {
            menu.note(NOT_WATCHED);
        }
        output.refresh();
    }

    async fn stop(&self) -> Result<(), Error> {
        let stopped = self.engine.stop(self.project, &self.p.args, timeout(self.p)).await;
        Ok(stopped?)
    }

    async fn kill(&self, seen: &[Seen]) -> Result<(), Error> {
        for container in seen {
            match self.app.client()?.container_kill(&container.summary.id, "KILL").await {
                Err(e) if !e.is_not_found() && !matches!(e, dray_client::Error::Api { status: 409, .. }) => {
                    return Err(e.into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What watches files, if something does.
type Watching<'a> = Option<Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>>;

async fn next(watching: &mut Watching<'_>) -> Result<(), Error> {
    match watching {
        Some(watching) => watching.await,
        None => std::future::pending().await,
    }
}

/// The next keys; never any where nobody can press them.
async fn typed(keys: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match keys {
        Some(receiver) => {
            let bytes = receiver.recv().await;
            if bytes.is_none() {
                *keys = None;
            }
            bytes
        }
        None => std::future::pending().await,
    }
}

async fn noted(output: &Output) {
    match output.menu() {
        Some(menu) => menu.noted().await,
        None => std::future::pending().await,
    }
}
