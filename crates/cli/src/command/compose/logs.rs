//! `compose logs`: the logs of many containers, line by line.

use std::time::Duration;

use dray_client::container::LogOptions;
use dray_compose::apply::{Include, Silent};
use dray_compose::plan::Seen;
use futures_util::future::try_join_all;

use super::crowd::Crowd;
use super::follow::{Begin, Follower};
use super::list::time;
use super::output::{Output, short_name};
use super::position::Position;
use super::{engine, project, say};
use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, int, switch, text};
use crate::spec::{Args, Command, Done};

/// So long it may take that a container which has ended is started again.
const LINGER: Duration = Duration::from_secs(1);

const LOGS_FLAGS: &[Flag] = &[
    switch("follow", 'f', "Go on as more is written"),
    int("index", NONE, "Number of the container, if the service has several").default("0"),
    switch("no-color", NONE, "Show names without colours"),
    switch("no-log-prefix", NONE, "Show output without names"),
    text("since", NONE, "From this time on, or this long ago"),
    text("tail", 'n', "So many last lines of each container").default("all"),
    switch("timestamps", 't', "Show when each line was written"),
    text("until", NONE, "Up to this time, or this long ago"),
];

/// `compose logs`
pub static LOGS: Command =
    Command::new("logs", &["[OPTIONS] [SERVICE...]"], Args::Any, "View output from containers", |a, p| {
        Box::pin(logs(a, p))
    })
    .flags(&[LOGS_FLAGS]);

async fn logs(app: &App, p: Parsed) -> Done {
    let (project, name) = project::maybe(app, &p.args)?;
    let engine = engine(app, &Silent)?;
    if let Some(project) = &project {
        for service in &p.args {
            project.service(service)?;
        }
    }
    let index: u32 = p.get("index").parse().unwrap_or(0);
    let mut seen = if index > 0 {
        let Some(service) = p.args.first() else {
            return Err(Error::Refused("--index requires one service to be selected".into()));
        };
        vec![engine.container(&name, service, index, true).await?]
    } else {
        engine.containers(&name, Include::Services, true, &p.args).await?
    };
    if let Some(project) = &project {
        seen.retain(|c| project.services.contains_key(c.service()));
    }
    // The lines' own times come from the log.
    let output = Output::new(app, p.is("no-color"), p.is("no-log-prefix"), false);
    seen.iter().for_each(|c| output.register(&short_name(c)));
    let client = app.client()?;
    let options = LogOptions {
        stdout: true,
        stderr: true,
        follow: p.is("follow"),
        timestamps: p.is("timestamps"),
        since: time(&p, "since")?,
        until: time(&p, "until")?,
        tail: p.get("tail").to_owned(),
        details: false,
    };
    if options.follow {
        let services = if index > 0 {
            // This one container, nobody else's start.
            Some(Vec::new())
        } else if p.args.is_empty() {
            project.map(|project| project.services.into_keys().collect())
        } else {
            Some(p.args.clone())
        };
        let times = options.timestamps;
        let follower = Follower { client, output: &output, times, until: options.until.clone() };
        return follow(&follower, &name, services, &seen, &options).await;
    }
    let each = seen.iter().map(async |container| {
        let id = &container.summary.id;
        let tty = client.container_inspect(id).await?.config.tty;
        let log = match client.container_logs(id, &options).await {
            Err(dray_client::Error::Api { status: 501, message }) => {
                say::warn(&format!("Can't retrieve logs for {:?}: {message}", container.name()));
                return Ok(());
            }
            log => log?,
        };
        output.show(&short_name(container), log, tty, false).await?;
        Ok::<(), Error>(())
    });
    try_join_all(each).await?;
    Ok(0)
}

/// Shows logs until no container of these services runs any more; those that are started meanwhile are among them.
async fn follow(
    follower: &Follower<'_>,
    project: &str,
    services: Option<Vec<String>>,
    seen: &[Seen],
    options: &LogOptions,
) -> Done {
    let mut crowd = Crowd::of(follower, project, services).await?;
    let from = Position::since(crate::format::time::fixed(&options.since));
    for container in seen {
        let begin = match options.tail.as_str() {
            "0" => Begin::End,
            _ => Begin::Log(LogOptions { timestamps: true, ..options.clone() }, from.clone()),
        };
        if container.summary.state == "created" {
            crowd.expect(&container.summary.id);
        } else {
            crowd.add(container.into(), begin);
        }
    }
    loop {
        if crowd.is_empty() {
            // A restart is an end and a start.
            let _ = tokio::time::timeout(LINGER, crowd.next()).await;
            if crowd.is_empty() {
                return Ok(0);
            }
        }
        crowd.next().await?;
    }
}
