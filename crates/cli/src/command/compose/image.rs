//! Images of services: pulled or built where they are missing or asked for; `pull`, `push`, `images`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dray_client::api::progress::ProgressMessage;
use dray_client::image::PullOptions;
use dray_compose::Project;
use dray_compose::apply::{Event, Include, Progress as _, Silent, Status};
use dray_compose::model::service::Service;
use dray_spec::{Reference, golang};
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
use crate::format::units::human_size_with;
use crate::format::{table, time};
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

/// An image that is here.
#[derive(Clone, Debug)]
struct Local {
    id: String,
    /// When it got its name, in seconds; 0 if that is not known.
    tagged: i64,
}

async fn local(app: &App, image: &str) -> Result<Option<Local>, Error> {
    match app.client()?.image_inspect_raw(image, "").await {
        Ok(raw) => {
            let value: Value = serde_json::from_slice(&raw)
                .map_err(|source| Error::Json { what: format!("image {image}"), source })?;
            let tagged = value["Metadata"]["LastTagTime"].as_str().and_then(time::parse_rfc3339);
            let tagged = tagged.map_or(0, |t| t.as_second().max(0));
            Ok(value["Id"].as_str().map(|id| Local { id: id.to_owned(), tagged }))
        }
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The images of services that are here, by service.
async fn locals(app: &App, project: &Project) -> Result<BTreeMap<String, Local>, Error> {
    let separator = project::separator(app);
    let of =
        |(name, s): (&String, &Service)| (name.clone(), s.image_or_default(&project.name, name, separator));
    let images: Vec<(String, String)> =
        project.services.iter().filter(|(_, s)| s.provider.is_none()).map(of).collect();
    let names: BTreeSet<&String> = images.iter().map(|(_, image)| image).collect();
    let asked =
        names.into_iter().map(async |image| Ok::<_, Error>((image.clone(), local(app, image).await?)));
    let found: BTreeMap<String, Option<Local>> = try_join_all(asked).await?.into_iter().collect();
    let known = images.into_iter().filter_map(|(name, image)| Some((name, found.get(&image)?.clone()?)));
    Ok(known.collect())
}

async fn ids(app: &App, project: &Project) -> Result<BTreeMap<String, String>, Error> {
    Ok(locals(app, project).await?.into_iter().map(|(name, image)| (name, image.id)).collect())
}

/// Sees that all images are here; their ids by service.
///
/// # Errors
/// One cannot be pulled or built.
pub async fn ensure(app: &App, project: &Project, policy: Policy) -> Result<BTreeMap<String, String>, Error> {
    let have = locals(app, project).await?;
    let buildable = |s: &Service| s.build.is_some() && !policy.no_build;
    let mut pulls: Vec<(String, Service)> = Vec::new();
    for (name, service) in &project.services {
        if must_pull(service, have.get(name), buildable(service))? {
            pulls.push((name.clone(), service.clone()));
        }
        pulls.extend(missing_mounts(app, name, service).await?);
    }
    let mut builds: Vec<(&String, &Service)> = project
        .services
        .iter()
        .filter(|(name, s)| {
            buildable(s) && (policy.build || s.pull_policy == "build" || !have.contains_key(*name))
        })
        .collect();
    if pulls.is_empty() && builds.is_empty() {
        return Ok(have.into_iter().map(|(name, image)| (name, image.id)).collect());
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

fn must_pull(service: &Service, here: Option<&Local>, buildable: bool) -> Result<bool, Error> {
    if service.image.is_empty() || service.provider.is_some() {
        return Ok(false);
    }
    let policy = service.pull_policy.as_str();
    Ok(match (policy, here) {
        ("always", _) => true,
        ("never" | "build", _) => false,
        (_, None) => !buildable,
        (_, Some(image)) => match refreshed_after(policy)? {
            Some(seconds) => time::now() > image.tagged.saturating_add(seconds),
            None => false,
        },
    })
}

/// After how many seconds an image is looked for anew.
fn refreshed_after(policy: &str) -> Result<Option<i64>, Error> {
    const DAY: i64 = 24 * 60 * 60;
    match (policy, policy.strip_prefix("every_")) {
        ("daily", _) => Ok(Some(DAY)),
        ("weekly", _) => Ok(Some(7 * DAY)),
        (_, Some(span)) => match golang::parse_duration_with_days(span) {
            Ok(nanos) => Ok(Some(nanos / 1_000_000_000)),
            Err(e) => Err(Error::Refused(e.to_string())),
        },
        _ => Ok(None),
    }
}

/// Images that a service mounts and that are not here, as services with nothing else.
async fn missing_mounts(app: &App, name: &str, service: &Service) -> Result<Vec<(String, Service)>, Error> {
    let mut missing = Vec::new();
    for (i, mount) in service.volumes.iter().enumerate().filter(|(_, mount)| mount.kind == "image") {
        if local(app, &mount.source).await?.is_none() {
            let only = Service { image: mount.source.clone(), ..Service::default() };
            missing.push((format!("{name}:volume {i}"), only));
        }
    }
    Ok(missing)
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

/// Container, repository, tag, platform, id, size, when tagged.
type ImageRow = (String, String, String, String, String, i64, String);

async fn images(app: &App, p: Parsed) -> Done {
    let (_, name) = project::maybe(app, &p.args)?;
    let seen = engine(app, &Silent)?.containers(&name, Include::Services, true, &p.args).await?;
    let mut rows: Vec<ImageRow> = Vec::new();
    for container in &seen {
        // By the name that it was made of: the id alone has not been tagged at any time.
        let client = app.client()?;
        let raw = match client.image_inspect_raw(&container.summary.image, "").await {
            Err(e) if e.is_not_found() => client.image_inspect_raw(&container.summary.image_id, "").await?,
            other => other?,
        };
        let image: Value = serde_json::from_slice(&raw)
            .map_err(|source| Error::Json { what: container.summary.image.clone(), source })?;
        let named = Reference::parse(&container.summary.image).ok().map(Reference::tagged);
        let repository = named.as_ref().map(Reference::familiar_name).unwrap_or_default();
        let tag = named.as_ref().and_then(Reference::tag).unwrap_or_default();
        let id = image["Id"].as_str().unwrap_or_default().to_owned();
        let platform = format!(
            "{}/{}",
            image["Os"].as_str().unwrap_or_default(),
            image["Architecture"].as_str().unwrap_or_default()
        );
        let size = image["Size"].as_i64().unwrap_or(0);
        let created = image["Created"].as_str().unwrap_or_default();
        let tagged_at = image["Metadata"]["LastTagTime"].as_str().filter(|at| !at.starts_with("0001-"));
        let tagged_at = tagged_at.unwrap_or(created).to_owned();
        let container = container.name().to_owned();
        rows.push((container, repository, tag.to_owned(), platform, id, size, tagged_at));
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
                ("LastTagTime", &r.6),
            ];
            super::list::record(&texts, Some(("Size", r.5)))
        };
        let list = rows.iter().map(one).collect::<Vec<_>>().join(",");
        // Docker Compose ends the line twice, and a list of nothing is none.
        app.print(if rows.is_empty() { "null\n\n".to_owned() } else { format!("[{list}]\n\n") })?;
        return Ok(0);
    }
    let mut text = String::from("CONTAINER\tREPOSITORY\tTAG\tPLATFORM\tIMAGE ID\tSIZE\tCREATED\n");
    let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    for (container, repository, tag, platform, id, size, tagged_at) in &rows {
        let ago = time::parse_rfc3339(tagged_at).map(|t| time::ago(t.as_second()));
        let _ = writeln!(
            text,
            "{container}\t{}\t{}\t{platform}\t{}\t{}\t{}",
            or_none(repository),
            or_none(tag),
            crate::format::short_id(id),
            human_size_with(*size as f64, 3),
            ago.unwrap_or_default()
        );
    }
    app.print(table::align(&text, TABLE))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_when_their_time_has_come() {
        const HOUR: i64 = 60 * 60;
        let pulls = |policy: &str, hours: Option<i64>, buildable: bool| {
            let service = Service { image: "x".into(), pull_policy: policy.to_owned(), ..Service::default() };
            let here = hours.map(|hours| Local { id: "id".into(), tagged: time::now() - hours * HOUR });
            must_pull(&service, here.as_ref(), buildable).unwrap()
        };
        for (policy, hours, wanted) in [
            ("daily", 23, false),
            ("daily", 25, true),
            ("weekly", 25, false),
            ("weekly", 7 * 25, true),
            ("every_1d2h", 25, false),
            ("every_1d2h", 27, true),
            ("every_90m", 1, false),
            ("every_90m", 2, true),
            ("always", 0, true),
            ("never", 1000, false),
            ("missing", 1000, false),
            ("", 1000, false),
        ] {
            assert_eq!(pulls(policy, Some(hours), false), wanted, "{policy} {hours}");
        }
        for policy in ["daily", "missing", "", "always"] {
            assert!(pulls(policy, None, false), "{policy}");
        }
        assert!(!pulls("never", None, false) && !pulls("build", None, true) && !pulls("missing", None, true));
        let wrong = Service { image: "x".into(), pull_policy: "every_x".into(), ..Service::default() };
        let here = Local { id: "id".into(), tagged: 0 };
        assert!(must_pull(&wrong, Some(&here), false).is_err());
    }
}
