//! Images of services: pulled or built where they are missing or asked for; `pull`, `push`, `images`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dray_client::api::progress::ProgressMessage;
use dray_client::image::PullOptions;
use dray_compose::Project;
use dray_compose::apply::{Event, Include, Progress as _, Silent, Status};
use dray_compose::model::service::Service;
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;

use super::build::{self, How};
use super::display::Display;
use super::project;
use super::{TABLE, delegate, engine};
use crate::app::App;
use crate::command::image::pull::{auth_for, name_and_tag, parse};
use crate::command::image::push as image_push;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::format::table;
use crate::format::units::human_size_with;
use crate::progress::failure;
use crate::spec::{Args, Command, Done};

/// What to do about images before containers are made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Build all that can be built.
    pub build: bool,
    /// Build nothing.
    pub no_build: bool,
    /// Pull without words.
    pub quiet_pull: bool,
    /// Build without words.
    pub quiet_build: bool,
}

pub(super) fn told(id: &str, status: Status, text: &str) -> Event {
    Event { id: id.to_owned(), parent: None, status, text: text.to_owned() }
}

/// An image's id, if it is here.
///
/// # Errors
/// The daemon refuses.
pub async fn id_of(app: &App, image: &str) -> Result<Option<String>, Error> {
    match app.client()?.image_inspect_raw(image, "").await {
        Ok(raw) => {
            let value: Value = serde_json::from_slice(&raw)
                .map_err(|source| Error::Json { what: format!("image {image}"), source })?;
            Ok(value["Id"].as_str().map(str::to_owned))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

async fn ids(app: &App, project: &Project) -> Result<BTreeMap<String, String>, Error> {
    let separator = project::separator(app);
    let of =
        |(name, s): (&String, &Service)| (name.clone(), s.image_or_default(&project.name, name, separator));
    let images: Vec<(String, String)> =
        project.services.iter().filter(|(_, s)| s.provider.is_none()).map(of).collect();
    let names: BTreeSet<&String> = images.iter().map(|(_, image)| image).collect();
    let asked =
        names.into_iter().map(async |image| Ok::<_, Error>((image.clone(), id_of(app, image).await?)));
    let found: BTreeMap<String, Option<String>> = try_join_all(asked).await?.into_iter().collect();
    let known = images.into_iter().filter_map(|(name, image)| Some((name, found.get(&image)?.clone()?)));
    Ok(known.collect())
}

/// Sees that all images are here; their ids by service.
///
/// # Errors
/// One cannot be pulled or built.
pub async fn ensure(app: &App, project: &Project, policy: Policy) -> Result<BTreeMap<String, String>, Error> {
    let have = ids(app, project).await?;
    let buildable = |s: &Service| s.build.is_some() && !policy.no_build;
    let pulls: Vec<(&String, &Service)> = project
        .services
        .iter()
        .filter(|(name, s)| must_pull(s, have.contains_key(*name), buildable(s)))
        .collect();
    let mut builds: Vec<(&String, &Service)> = project
        .services
        .iter()
        .filter(|(name, s)| {
            buildable(s) && (policy.build || s.pull_policy == "build" || !have.contains_key(*name))
        })
        .collect();
    if pulls.is_empty() && builds.is_empty() {
        return Ok(have);
    }
    build::with_bases(project, &mut builds);
    if !pulls.is_empty() {
        let display = Display::new(app, "Running")?;
        let work = pulls.iter().map(|(name, s)| pull_one(app, &display, name, s, policy.quiet_pull));
        try_join_all(work).await?;
    }
    let how = How { quiet: policy.quiet_build, ..How::default() };
    for (name, service) in build::in_order(project, builds)? {
        build::one(app, project, name, service, &how).await?;
    }
    ids(app, project).await
}

fn must_pull(service: &Service, here: bool, buildable: bool) -> bool {
    if service.image.is_empty() || service.provider.is_some() {
        return false;
    }
    match service.pull_policy.as_str() {
        "always" | "daily" | "weekly" => true,
        "never" | "build" => false,
        _ => !here && !buildable,
    }
}

async fn pull_one(
    app: &App,
    display: &Display,
    name: &str,
    service: &Service,
    quiet: bool,
) -> Result<(), Error> {
    display.event(told(name, Status::Working, "Pulling"));
    let reference = parse(&service.image)?.tagged();
    let (repository, tag) = name_and_tag(&reference);
    let pulled = async {
        let auth = auth_for(app, &reference);
        let what = PullOptions { platform: service.platform.clone(), ..PullOptions::default() };
        let mut messages = app.client()?.image_pull(&repository, &tag, &what, &auth).await?;
        while let Some(message) = messages.next().await? {
            if let Some(error) = failure(&message) {
                return Err(error);
            }
            if !quiet {
                show_layer(display, name, &message);
            }
        }
        Ok(())
    }
    .await;
    match pulled {
        Ok(()) => display.event(told(name, Status::Done, "Pulled")),
        Err(e) => {
            display.event(told(name, Status::Error, &format!("Error {e}")));
            return Err(e);
        }
    }
    Ok(())
}

fn show_layer(display: &Display, name: &str, message: &ProgressMessage) {
    if message.id.is_empty() || message.status.is_empty() {
        return;
    }
    let status = match message.status.as_str() {
        "Pull complete" | "Already exists" => Status::Done,
        _ => Status::Working,
    };
    let text = match &message.progress_detail {
        Some(d) if d.total > 0 => format!("{} {}%", message.status, d.current * 100 / d.total),
        _ => message.status.clone(),
    };
    display.event(Event { id: message.id.clone(), parent: Some(name.to_owned()), status, text });
}

const PULL_FLAGS: &[Flag] = &[
    switch("ignore-buildable", NONE, "Leave out images that can be built"),
    switch("ignore-pull-failures", NONE, "Pull what can be pulled"),
    switch("include-deps", NONE, "Pull what the services depend on, too"),
    switch("no-parallel", NONE, "Kept for old scripts").default("true").hidden(),
    switch("parallel", NONE, "Kept for old scripts").default("true").hidden(),
    text("policy", NONE, "Which to pull (missing, always)"),
    switch("quiet", 'q', "Pull without words"),
];

/// `compose pull`
pub static PULL: Command =
    Command::new("pull", &["[OPTIONS] [SERVICE...]"], Args::Any, "Pull service images", |a, p| {
        Box::pin(pull(a, p))
    })
    .flags(&[PULL_FLAGS]);

async fn pull(app: &App, p: Parsed) -> Done {
    let project = project::load(app, &p.args, project::How::default())?;
    let have = ids(app, &project).await?;
    let display = if p.is("quiet") { Display::quiet() } else { Display::new(app, "Pulling")? };
    let mut pulling: BTreeMap<&str, &String> = BTreeMap::new();
    let mut work = Vec::new();
    for (name, s) in &project.services {
        let chosen = p.args.is_empty() || p.is("include-deps") || p.args.contains(name);
        if !chosen {
            continue;
        }
        let policy = if p.get("policy").is_empty() { s.pull_policy.as_str() } else { p.get("policy") };
        let skipped = if s.image.is_empty() {
            Some("Skipped - No image to be pulled".to_owned())
        } else if matches!(policy, "never" | "build") {
            Some("Skipped".to_owned())
        } else if matches!(policy, "missing" | "if_not_present") && have.contains_key(name) {
            Some("Skipped - Image is already present locally".to_owned())
        } else if s.build.is_some() && p.is("ignore-buildable") {
            Some("Skipped - Image can be built".to_owned())
        } else {
            pulling.get(s.image.as_str()).map(|by| format!("Skipped - Image is already being pulled by {by}"))
        };
        match skipped {
            Some(text) => display.event(told(name, Status::Done, &text)),
            None => {
                pulling.insert(&s.image, name);
                work.push(pull_one(app, &display, name, s, p.is("quiet")));
            }
        }
    }
    let failed: Vec<Error> = join_all(work).await.into_iter().filter_map(Result::err).collect();
    if !p.is("ignore-pull-failures") {
        Error::all(failed)?;
    }
    Ok(0)
}

const PUSH_FLAGS: &[Flag] = &[
    switch("ignore-push-failures", NONE, "Push what can be pushed"),
    switch("include-deps", NONE, "Push what the services depend on, too"),
    switch("quiet", 'q', "Push without words"),
];

/// `compose push`
pub static PUSH: Command =
    Command::new("push", &["[OPTIONS] [SERVICE...]"], Args::Any, "Push service images", |a, p| {
        Box::pin(push(a, p))
    })
    .flags(&[PUSH_FLAGS]);

async fn push(app: &App, p: Parsed) -> Done {
    let project = project::load(app, &p.args, project::How::default())?;
    let chosen = |name: &String| p.args.is_empty() || p.is("include-deps") || p.args.contains(name);
    let mut failed = Vec::new();
    for (_, s) in
        project.services.iter().filter(|(n, s)| s.build.is_some() && !s.image.is_empty() && chosen(n))
    {
        let mut words = vec![s.image.clone()];
        if p.is("quiet") {
            words.insert(0, "--quiet".into());
        }
        if let Err(e) = delegate(app, &image_push::COMMAND, words).await {
            failed.push(e);
        }
    }
    if !p.is("ignore-push-failures") {
        Error::all(failed)?;
    }
    Ok(0)
}

const IMAGES_FLAGS: &[Flag] = &[
    text("format", NONE, "Format of the output (table, json)").default("table"),
    switch("quiet", 'q', "Show ids only"),
];

/// `compose images`
pub static IMAGES: Command = Command::new(
    "images",
    &["[OPTIONS] [SERVICE...]"],
    Args::Any,
    "List images used by the created containers",
    |a, p| Box::pin(images(a, p)),
)
.flags(&[IMAGES_FLAGS]);

/// Container, repository, tag, platform, id, size, when made, when tagged.
type ImageRow = (String, String, String, String, String, i64, String, String);

async fn images(app: &App, p: Parsed) -> Done {
    let (_, name) = project::maybe(app, &p.args)?;
    let seen = engine(app, &Silent)?.containers(&name, Include::Services, true, &p.args).await?;
    let mut rows: Vec<ImageRow> = Vec::new();
    for container in &seen {
        let raw = app.client()?.image_inspect_raw(&container.summary.image_id, "").await?;
        let image: Value = serde_json::from_slice(&raw)
            .map_err(|source| Error::Json { what: container.summary.image.clone(), source })?;
        let tagged = image["RepoTags"][0].as_str().unwrap_or("<none>:<none>");
        let (repository, tag) = tagged.rsplit_once(':').unwrap_or((tagged, "<none>"));
        let id = image["Id"].as_str().unwrap_or_default().to_owned();
        let platform = format!(
            "{}/{}",
            image["Os"].as_str().unwrap_or_default(),
            image["Architecture"].as_str().unwrap_or_default()
        );
        let size = image["Size"].as_i64().unwrap_or(0);
        let created = image["Created"].as_str().unwrap_or_default().to_owned();
        let tagged_at = image["Metadata"]["LastTagTime"].as_str().unwrap_or_default().to_owned();
        rows.push((
            container.name().to_owned(),
            repository.to_owned(),
            tag.to_owned(),
            platform,
            id,
            size,
            created,
            tagged_at,
        ));
    }
    rows.sort();
    if p.is("quiet") {
        let mut ids: Vec<&str> = rows.iter().map(|r| r.4.trim_start_matches("sha256:")).collect();
        ids.sort_unstable();
        ids.dedup();
        app.print(ids.iter().map(|i| format!("{i}\n")).collect::<String>())?;
        return Ok(0);
    }
    if p.get("format") == "json" {
        let one = |r: &ImageRow| {
            let texts = [
                ("ID", &r.4),
                ("ContainerName", &r.0),
                ("Repository", &r.1),
                ("Tag", &r.2),
                ("Platform", &r.3),
                ("LastTagTime", &r.7),
            ];
            super::list::record(&texts, Some(("Size", r.5)))
        };
        app.print(format!("[{}]\n", rows.iter().map(one).collect::<Vec<_>>().join(",")))?;
        return Ok(0);
    }
    let mut text = String::from("CONTAINER\tREPOSITORY\tTAG\tPLATFORM\tIMAGE ID\tSIZE\tCREATED\n");
    for (container, repository, tag, platform, id, size, created, _) in &rows {
        let ago =
            crate::format::time::parse_rfc3339(created).map(|t| crate::format::time::ago(t.as_second()));
        let _ = writeln!(
            text,
            "{container}\t{repository}\t{tag}\t{platform}\t{}\t{}\t{}",
            crate::format::short_id(id),
            human_size_with(*size as f64, 3),
            ago.unwrap_or_default()
        );
    }
    app.print(table::align(&text, TABLE))?;
    Ok(0)
}
