//! What happens to containers that are there: `start`, `stop`, `restart`, `kill`, `pause`, `unpause`, `rm`, `down`,
//! `scale`, `wait`.

use std::cell::RefCell;

use dray_client::Client;
use dray_compose::apply::{Down, Event, Images, Include, Progress as _, Start, Status};
use dray_compose::model::Along;
use dray_compose::plan::Seen;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use futures_util::stream::FuturesUnordered;

use super::display::Display;
use super::project::{self, How};
use super::{engine, say, socket, there, up};
use crate::app::App;
use crate::command::container::session::exit_code;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, int, switch, text};
use crate::spec::{Args, Command, Done};

const TIMEOUT: Flag = int("timeout", 't', "How many seconds containers have to stop").default("0");

fn timeout(p: &Parsed) -> Option<i64> {
    if p.given("timeout") { p.get("timeout").parse().ok() } else { None }
}

const START_FLAGS: &[Flag] = &[
    switch("wait", NONE, "Wait until services run or are healthy"),
    int("wait-timeout", NONE, "For how many seconds at most").default("0"),
];

/// `compose start`
pub static START: Command =
    Command::new("start", &["[SERVICE...]"], Args::Any, "Start services", |a, p| Box::pin(start(a, p)))
        .flags(&[START_FLAGS]);

async fn start(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Running")?;
    let engine = engine(app, &display)?;
    let mut project = there(app, &engine, &p.args).await?;
    project.select(&p.args, Along::Dependencies)?;
    let seconds: u64 = p.get("wait-timeout").parse().unwrap_or(0);
    let timeout = (seconds > 0).then(|| std::time::Duration::from_secs(seconds));
    engine.start(&project, Start { wait: p.is("wait"), timeout, ..Start::default() }).await?;
    Ok(0)
}

/// `compose stop`
pub static STOP: Command =
    Command::new("stop", &["[OPTIONS] [SERVICE...]"], Args::Any, "Stop services", |a, p| {
        Box::pin(stop(a, p))
    })
    .flags(&[&[TIMEOUT]]);

async fn stop(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Running")?;
    let engine = engine(app, &display)?;
    let project = there(app, &engine, &p.args).await?;
    engine.stop(&project, &p.args, timeout(&p)).await?;
    Ok(0)
}

/// `compose restart`
pub static RESTART: Command =
    Command::new("restart", &["[OPTIONS] [SERVICE...]"], Args::Any, "Restart service containers", |a, p| {
        Box::pin(restart(a, p))
    })
    .flags(&[&[switch("no-deps", NONE, "Do not restart what depends on the services"), TIMEOUT]]);

async fn restart(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Restarting")?;
    let engine = engine(app, &display)?;
    let project = there(app, &engine, &[]).await?;
    let mut chosen = p.args.clone();
    if !chosen.is_empty() && !p.is("no-deps") {
        let follows = project
            .services
            .iter()
            .filter(|(_, s)| s.depends_on.iter().any(|(on, d)| d.restart && p.args.contains(on)));
        chosen.extend(follows.map(|(n, _)| n.clone()));
    }
    for name in &p.args {
        project.service(name)?;
    }
    let seen = engine.containers(&project.name, Include::Services, true, &chosen).await?;
    for name in project.in_order() {
        let own: Vec<&Seen> = seen.iter().filter(|c| c.service() == name).collect();
        each(&display, app.client()?, &own, ("Restarting", "Started"), async |client: &Client, c: &Seen| {
            client.container_restart(&c.summary.id, "", timeout(&p)).await
        })
        .await?;
    }
    Ok(0)
}

/// Does something to containers, all at once, and tells of it.
async fn each(
    display: &Display,
    client: &Client,
    containers: &[&Seen],
    (doing, done): (&str, &str),
    act: impl AsyncFn(&Client, &Seen) -> dray_client::Result<()>,
) -> Result<(), Error> {
    let tell = |c: &Seen, status, text: &str| {
        display.event(Event {
            id: format!("Container {}", c.name()),
            parent: None,
            status,
            text: text.to_owned(),
        });
    };
    let all = containers.iter().map(async |c| {
        // What takes no time is told of once.
        if !matches!(done, "Paused" | "Unpaused") {
            tell(c, Status::Working, doing);
        }
        match act(client, c).await {
            Ok(()) => {
                tell(c, Status::Done, done);
                Ok(())
            }
            Err(e) => {
                tell(c, Status::Error, &format!("Error while {doing}"));
                Err(Error::from(e))
            }
        }
    });
    try_join_all(all).await.map(|_| ())
}

/// `compose kill`
pub static KILL: Command =
    Command::new("kill", &["[OPTIONS] [SERVICE...]"], Args::Any, "Force stop service containers", |a, p| {
        Box::pin(kill(a, p))
    })
    .flags(&[&[
        switch("remove-orphans", NONE, "Kill containers of services that the files do not have"),
        text("signal", 's', "Signal to send").default("SIGKILL"),
    ]]);

async fn kill(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Killing")?;
    let engine = engine(app, &display)?;
    let (project, name) = project::maybe(app, &p.args)?;
    let mut seen = engine.containers(&name, Include::Services, false, &p.args).await?;
    if let Some(project) = &project
        && !p.is("remove-orphans")
    {
        seen.retain(|c| project.all_services().any(|(n, _)| n == c.service()));
    }
    if seen.is_empty() {
        display.finish();
        say::warn("no container to kill");
    }
    let own: Vec<&Seen> = seen.iter().collect();
    let signal = p.get("signal").to_owned();
    each(&display, app.client()?, &own, ("Killing", "Killed"), async |client: &Client, c: &Seen| {
        client.container_kill(&c.summary.id, &signal).await
    })
    .await?;
    Ok(0)
}

/// `compose pause`
pub static PAUSE: Command =
    Command::new("pause", &["[SERVICE...]"], Args::Any, "Pause services", |a, p| Box::pin(pause(a, p)));

async fn pause(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Running")?;
    let (_, name) = project::maybe(app, &p.args)?;
    let seen = engine(app, &display)?.containers(&name, Include::Services, false, &p.args).await?;
    let own: Vec<&Seen> = seen.iter().collect();
    each(&display, app.client()?, &own, ("Pausing", "Paused"), async |client: &Client, c: &Seen| {
        client.container_pause(&c.summary.id).await
    })
    .await?;
    Ok(0)
}

/// `compose unpause`
pub static UNPAUSE: Command =
    Command::new("unpause", &["[SERVICE...]"], Args::Any, "Unpause services", |a, p| Box::pin(unpause(a, p)));

async fn unpause(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Running")?;
    let (_, name) = project::maybe(app, &p.args)?;
    let seen = engine(app, &display)?.containers(&name, Include::Services, false, &p.args).await?;
    let own: Vec<&Seen> = seen.iter().filter(|c| c.summary.state == "paused").collect();
    each(&display, app.client()?, &own, ("Unpausing", "Unpaused"), async |client: &Client, c: &Seen| {
        client.container_unpause(&c.summary.id).await
    })
    .await?;
    Ok(0)
}

/// `compose rm`
pub static RM: Command = Command::new(
    "rm",
    &["[OPTIONS] [SERVICE...]"],
    Args::Any,
    "Removes stopped service containers",
    |a, p| Box::pin(rm(a, p)),
)
.flags(&[&[
    switch("all", 'a', "Kept for old scripts").hidden(),
    switch("force", 'f', "Do not ask"),
    switch("stop", 's', "Stop them first"),
    switch("volumes", 'v', "Remove their anonymous volumes too"),
]]);

async fn rm(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Removing")?;
    let engine = engine(app, &display)?;
    let project = there(app, &engine, &p.args).await?;
    if p.is("stop") {
        engine.stop(&project, &p.args, None).await?;
    }
    let mut seen = engine.containers(&project.name, Include::All, true, &p.args).await?;
    seen.retain(|c| !matches!(c.summary.state.as_str(), "running" | "paused" | "restarting") || p.is("stop"));
    if seen.is_empty() {
        app.warn("No stopped containers");
        return Ok(0);
    }
    let names: Vec<&str> = seen.iter().map(Seen::name).collect();
    display.finish();
    let going = format!("Going to remove {}", names.join(", "));
    if p.is("force") {
        app.print(format!("{going}\n"))?;
    } else if !app.confirm(&going)? {
        return Ok(0);
    }
    try_join_all(seen.iter().map(|c| engine.remove_container(c, p.is("volumes")))).await?;
    Ok(0)
}

const DOWN_FLAGS: &[Flag] = &[
    switch("remove-orphans", NONE, "Remove containers of services that the files do not have"),
    text("rmi", NONE, "Remove images: local (those without a name of their own) or all"),
    TIMEOUT,
    switch("volumes", 'v', "Remove named volumes of the files, and anonymous ones"),
];

/// `compose down`
pub static DOWN: Command = Command::new(
    "down",
    &["[OPTIONS] [SERVICES]"],
    Args::Any,
    "Stop and remove containers, networks",
    |a, p| Box::pin(down(a, p)),
)
.flags(&[DOWN_FLAGS]);

async fn down(app: &App, p: Parsed) -> Done {
    let images = match p.get("rmi") {
        "" => Images::None,
        "local" => Images::Local,
        "all" => Images::All,
        other => return Err(Error::Refused(format!("invalid value for --rmi: {other:?}"))),
    };
    let display = Display::new(app, "Running")?;
    let engine = engine(app, &display)?;
    // Nothing is left out: what is off now may have been on.
    let project = there(app, &engine, &[]).await?;
    for name in &p.args {
        if !project.all_services().any(|(n, _)| n == name) {
            return Err(Error::Refused(format!("no such service: {name}")));
        }
    }
    for (name, service) in project.services.iter().filter(|(_, s)| s.provider.is_some()) {
        super::provider::run(app, &project, name, service, "down")?;
    }
    let orphans = p.is("remove-orphans")
        || matches!(std::env::var("COMPOSE_REMOVE_ORPHANS").unwrap_or_default().as_str(), "1" | "true");
    let how =
        Down { services: p.args.clone(), orphans, timeout: timeout(&p), volumes: p.is("volumes"), images };
    let any = engine.down(&project, &how).await?;
    display.finish();
    if !any && p.args.is_empty() {
        say::warn(&format!("Warning: No resource found to remove for project {:?}.", project.name));
    }
    Ok(0)
}

/// `compose scale`
pub static SCALE: Command =
    Command::new("scale", &["[SERVICE=REPLICAS...]"], Args::AtLeast(1), "Scale services", |a, p| {
        Box::pin(scale(a, p))
    })
    .flags(&[&[switch("no-deps", NONE, "Do not start what the services depend on")]]);

async fn scale(app: &App, p: Parsed) -> Done {
    let names: Vec<String> = p.args.iter().map(|a| a.split('=').next().unwrap_or(a).to_owned()).collect();
    let mut project = project::load(app, &names, How::default())?;
    socket::give(app, &mut project)?;
    if p.is("no-deps") {
        project.select(&names, Along::None)?;
    }
    up::scale(&mut project, &p.args)?;
    let display = Display::new(app, "Running")?;
    let engine = engine(app, &display)?;
    // What has changed meanwhile is rolled out, as by `up -d`.
    let rolled = RefCell::new(Vec::new());
    up::converge_rolling(app, &project, &Parsed::default(), &engine, Some(&rolled)).await?;
    engine.start(&project, Start { rolled: &rolled.into_inner(), ..Start::default() }).await?;
    Ok(0)
}

/// `compose wait`
pub static WAIT: Command = Command::new(
    "wait",
    &["SERVICE [SERVICE...] [OPTIONS]"],
    Args::AtLeast(1),
    "Block until containers of all (or specified) services stop.",
    |a, p| Box::pin(wait(a, p)),
)
.flags(&[&[switch("down-project", NONE, "Take the project down when the first container stops")]]);

async fn wait(app: &App, p: Parsed) -> Done {
    let display = Display::new(app, "Running")?;
    let engine = engine(app, &display)?;
    let (_, name) = project::maybe(app, &[])?;
    let seen = engine.containers(&name, Include::Services, false, &p.args).await?;
    if seen.is_empty() {
        return Err(Error::Refused(format!("no containers for project {name:?}")));
    }
    let client = app.client()?;
    let mut waits: FuturesUnordered<_> = seen
        .iter()
        .map(async |c| {
            let mut waiting = client.container_wait(&c.summary.id, "").await?;
            Ok::<_, Error>((c.summary.id.clone(), exit_code(&mut waiting).await?))
        })
        .collect();
    let mut last = 0;
    while let Some(ended) = waits.next().await {
        let (id, code) = ended?;
        app.print(format!("container {id:?} exited with status code {code}\n"))?;
        last = code;
        if p.is("down-project") {
            let project = engine.project_of(&name).await?;
            engine.down(&project, &Down::default()).await?;
            break;
        }
    }
    Ok(last)
}
