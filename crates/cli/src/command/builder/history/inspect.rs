//! `builder history inspect`: as `docker buildx history inspect` shows a build, and its steps.

use std::path::Path;

use dray_client::api::build::{BuildAttachment, BuildDetail, BuildExplanation, BuildStep};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::local::{self, Local};
use super::logs::Log;
use super::{duration, wanted};
use crate::app::App;
use crate::command::format_flag;
use crate::command_error::Error;
use crate::flag::{Flag, Parsed};
use crate::format::tabs::tabbed;
use crate::format::time::parse_rfc3339;
use crate::spec::{Args, Command, Done};
use crate::template::{Mode, Template};
use crate::value::Value;

const FLAGS: &[Flag] =
    &[format_flag("Format of the output: pretty, json, or a Go template").default("pretty")];

/// `builder history inspect`
pub static COMMAND: Command = Command::new(
    "inspect",
    &["[OPTIONS] [BUILD]"],
    Args::AtMost(1),
    "Show all that is known of a build",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

/// So many lines of a step that failed are shown.
const TAIL: usize = 16;
/// gRPC's codes, as Go names them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A build, in buildx's words.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    r#ref: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    context: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dockerfile: String,
    #[serde(rename = "VCSRepository", skip_serializing_if = "String::is_empty")]
    vcs_repository: String,
    #[serde(rename = "VCSRevision", skip_serializing_if = "String::is_empty")]
    vcs_revision: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    platform: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keep_git_dir: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    named_contexts: Vec<Pair>,
    started_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    duration: i64,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    num_completed_steps: i32,
    num_total_steps: i32,
    num_cached_steps: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    build_args: Vec<Pair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    labels: Vec<Pair>,
    config: Config,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    materials: Vec<Material>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<BuildAttachment>,
    /// Beyond buildx's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<BuildStep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<BuildExplanation>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    value: String,
}

/// Something that a build has taken from elsewhere.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Material {
    #[serde(rename = "URI")]
    uri: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    digests: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    code: i32,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    sources: String,
}

/// What else the build was given.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(skip_serializing_if = "String::is_empty")]
    network: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra_hosts: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    hostname: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    cgroup_parent: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    image_resolve_mode: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    multi_platform: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    no_cache: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    no_cache_filter: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    shm_size: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ulimit: String,
    #[serde(rename = "CacheMountNS", skip_serializing_if = "String::is_empty")]
    cache_mount_ns: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    dockerfile_check_config: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source_date_epoch: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    sandbox_hostname: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rest_raw: Vec<Pair>,
}

async fn run(app: &App, p: Parsed) -> Done {
    let name = wanted(&p);
    let build = app.client()?.build_inspect(name).await?;
    let mut shown = Shown::of(&build, app.config().borrow().dir());
    let said = build.attachments.iter().find(|of| of.kind.starts_with("https://slsa.dev/provenance/"));
    if let Some(said) = said {
        let bytes = app.client()?.build_attachment(&build.summary.r#ref, &said.digest).await?;
        shown.materials = materials(&bytes);
    }
    if let Some(error) = &mut shown.error {
        let mut log = Log::new(app.client()?.build_logs(&build.summary.r#ref).await?);
        last_lines(&mut log, error).await?;
    }
    let bytes = |shown: &Shown| {
        serde_json::to_vec_pretty(shown).map_err(|source| Error::Json { what: "a build".into(), source })
    };
    match p.get("format") {
        "pretty" => app.print(shown.pretty(app, &build, name.is_empty()))?,
        "json" => {
            app.print(bytes(&shown)?)?;
            app.print("\n")?;
        }
        text => {
            let refused = |e| Error::Refused(format!("failed to parse format template: {e}"));
            let template = Template::parse(text).map_err(refused)?;
            let value = Value::from_json(&bytes(&shown)?)
                .map_err(|source| Error::Json { what: "a build".into(), source })?;
            let mut out = String::new();
            let failed = |e| Error::Refused(format!("failed to execute format template: {e}"));
            template.run(&value, Mode::Data, &mut out).map_err(failed)?;
            app.print(out + "\n")?;
        }
    }
    Ok(0)
}

/// What provenance says that a build has taken, in either of its versions.
fn materials(provenance: &[u8]) -> Vec<Material> {
    let said: serde_json::Value = serde_json::from_slice(provenance).unwrap_or_default();
    let new = said["buildDefinition"]["resolvedDependencies"].as_array();
    let all = new.or_else(|| said["materials"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let digests = |of: &serde_json::Value| {
        let digests = of["digest"].as_object().into_iter().flatten();
        digests.filter_map(|(kind, hex)| Some(format!("{kind}:{}", hex.as_str()?))).collect()
    };
    all.iter()
        .map(|of| Material { uri: of["uri"].as_str().unwrap_or_default().to_owned(), digests: digests(of) })
        .collect()
}

/// What the vertex that failed is called, and what it printed last.
async fn last_lines<R>(log: &mut Log<R>, error: &mut Failure) -> Result<(), Error>
where
    R: tokio::io::AsyncRead + Unpin,
{
    let mut printed = std::collections::HashMap::<String, String>::new();
    let mut failed = None;
    while let Some(message) = log.next().await? {
        for log in &message.logs {
            printed.entry(log.vertex.clone()).or_default().push_str(&String::from_utf8_lossy(&log.msg));
        }
        let broken = message.vertexes.iter().find(|vertex| !vertex.error.is_empty());
        failed = failed.or_else(|| broken.map(|vertex| (vertex.digest.clone(), vertex.name.clone())));
    }
    let Some((digest, name)) = failed else { return Ok(()) };
    let lines = printed.remove(&digest).unwrap_or_default();
    let lines: Vec<String> = lines.lines().map(crate::progress::build::shown).collect();
    error.logs = lines[lines.len().saturating_sub(TAIL)..].to_vec();
    error.name = name;
    Ok(())
}

impl Shown {
    fn of(build: &BuildDetail, config: &Path) -> Shown {
        let summary = &build.summary;
        let local = Local::of(summary, config);
        let mut attrs = summary.attrs.clone();
        let name = local::name(summary, &local);
        let (context, dockerfile) = (local.context(summary), local.dockerfile(summary));
        let remote = attrs.remove("context").is_some_and(|context| !context.starts_with('/'));
        attrs.remove("filename");
        let mut take = |name: &str| attrs.remove(name).unwrap_or_default();
        let (source, revision) = (take("vcs:source"), take("vcs:revision"));
        let list = |text: String| -> Vec<String> {
            text.split(',')
                .map(|item| item.trim_matches('"').to_owned())
                .filter(|item| !item.is_empty())
                .collect()
        };
        let is_true = |text: String| matches!(text.as_str(), "1" | "t" | "true" | "True" | "TRUE");
        let (target, platform) = (take("target"), list(take("platform")));
        let keep_git_dir = is_true(take("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR"));
        let no_cache = summary.attrs.get("no-cache").map(String::as_str);
        let multi = [take("build-arg:BUILDKIT_MULTI_PLATFORM"), take("multi-platform")];
        let mut config = Config {
            network: take("force-network-mode"),
            extra_hosts: list(take("add-hosts")),
            hostname: take("hostname"),
            cgroup_parent: take("cgroup-parent"),
            image_resolve_mode: take("image-resolve-mode"),
            multi_platform: multi.into_iter().any(is_true),
            no_cache: no_cache == Some(""),
            no_cache_filter: list(take("no-cache")),
            shm_size: take("shm-size"),
            ulimit: take("ulimit"),
            cache_mount_ns: take("build-arg:BUILDKIT_CACHE_MOUNT_NS"),
            dockerfile_check_config: take("build-arg:BUILDKIT_DOCKERFILE_CHECK"),
            source_date_epoch: take("build-arg:SOURCE_DATE_EPOCH"),
            sandbox_hostname: take("build-arg:SANDBOX_HOSTNAME"),
            rest_raw: Vec::new(),
        };
        let mut pairs = |prefix: &str| -> Vec<Pair> {
            let of_prefix = |(name, value): (&String, &String)| {
                Some(Pair { name: name.strip_prefix(prefix)?.to_owned(), value: value.clone() })
            };
            let found = attrs.iter().filter_map(of_prefix).collect();
            attrs.retain(|name, _| !name.starts_with(prefix));
            found
        };
        let (named_contexts, build_args, labels) = (pairs("context:"), pairs("build-arg:"), pairs("label:"));
        let rest =
            attrs.into_iter().filter(|(name, _)| !name.starts_with("vcs:") && !name.starts_with("attest:"));
        config.rest_raw = rest.map(|(name, value)| Pair { name, value }).collect();
        let excerpt = build.steps.iter().find(|step| !step.excerpt.is_empty());
        let error = summary.error.as_ref().map(|error| Failure {
            code: error.code,
            message: error.message.clone(),
            sources: excerpt.map(|step| step.excerpt.clone()).unwrap_or_default(),
            ..Failure::default()
        });
        let times =
            (parse_rfc3339(&summary.created_at), summary.completed_at.as_deref().and_then(parse_rfc3339));
        let took = match times {
            (Some(begun), ended) => {
                ended.unwrap_or_else(jiff::Timestamp::now).duration_since(begun).as_nanos()
            }
            _ => 0,
        };
        Shown {
            name,
            r#ref: summary.r#ref.clone(),
            context,
            dockerfile,
            vcs_repository: if remote { String::new() } else { source },
            vcs_revision: if remote { String::new() } else { revision },
            target,
            platform,
            keep_git_dir,
            named_contexts,
            started_at: summary.created_at.clone(),
            completed_at: summary.completed_at.clone(),
            duration: i64::try_from(took).unwrap_or(i64::MAX),
            status: match summary.status.as_str() {
                "running" => "running",
                "completed" => "completed",
                "canceled" => "canceled",
                _ => "failed",
            },
            error,
            num_completed_steps: summary.completed_steps,
            num_total_steps: summary.total_steps,
            num_cached_steps: summary.cached_steps,
            build_args,
            labels,
            config,
            materials: Vec::new(),
            attachments: build.attachments.clone(),
            names: summary.names.clone(),
            steps: build.steps.clone(),
            explanation: build.explanation.clone(),
        }
    }

    fn pretty(&self, app: &App, build: &BuildDetail, with_ref: bool) -> String {
        let yes = |set: bool| if set { "true".to_owned() } else { String::new() };
        let head = [
            ("Name:", self.name.clone()),
            ("Ref:", if with_ref { self.r#ref.clone() } else { String::new() }),
            ("Context:", self.context.clone()),
            ("Dockerfile:", self.dockerfile.clone()),
            ("VCS Repository:", self.vcs_repository.clone()),
            ("VCS Revision:", self.vcs_revision.clone()),
            ("Target:", self.target.clone()),
            ("Platforms:", self.platform.join(", ")),
            ("Keep Git Dir:", yes(self.keep_git_dir)),
            ("Image Names:", self.names.join(", ")),
        ];
        let mut text = fields(&head) + "\n" + &table("Named Context", &self.named_contexts);
        let started = parse_rfc3339(&self.started_at)
            .map(|time| time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string());
        let error = self.error.as_ref().filter(|_| self.status == "failed").map(|error| {
            let code = usize::try_from(error.code).ok().and_then(|code| CODES.get(code));
            format!("{} {}", code.unwrap_or(&"Unknown"), error.message)
        });
        let (done, total, cached) = (self.num_completed_steps, self.num_total_steps, self.num_cached_steps);
        let share = if total == 0 { 0.0 } else { f64::from(cached) / f64::from(total) * 100.0 };
        let went = [
            ("Started:", started.unwrap_or_default()),
            ("Duration:", {
                let running = if self.status == "running" { " (running)" } else { "" };
                duration(&build.summary).trim_end_matches('+').to_owned() + running
            }),
            ("Error:", error.unwrap_or_default()),
            ("Status:", if self.status == "canceled" { "Canceled".to_owned() } else { String::new() }),
            ("Build Steps:", format!("{done}/{total} ({share:.0}% cached)")),
        ];
        text += &(fields(&went) + "\n");
        text += &(self.config.pretty() + "\n");
        text += &(table("Build Arg", &self.build_args) + &table("Label", &self.labels));
        text += &steps(&self.steps);
        text += &self.documents();
        if let Some(error) = &self.error {
            text += &error.sources;
            if !error.logs.is_empty() {
                let lines: String = error.logs.iter().map(|line| format!("> {line}\n")).collect();
                text += &format!("Logs:\n> => {}:\n{lines}\n", error.name);
            }
        }
        text + &format!("Print build logs: {} builder history logs {}\n", app.name, self.r#ref)
    }
}

impl Shown {
    /// What the build took, and the documents that belong to it.
    fn documents(&self) -> String {
        let mut text = String::new();
        if !self.materials.is_empty() {
            let digests: Vec<String> = self.materials.iter().map(|of| of.digests.join(", ")).collect();
            let mut rows = vec![vec!["URI", "DIGEST"]];
            rows.extend(
                self.materials.iter().zip(&digests).map(|(of, digest)| vec![of.uri.as_str(), digest]),
            );
            text += &format!("Materials:\n{}\n", tabbed(&rows));
        }
        if !self.attachments.is_empty() {
            let mut rows = vec![vec!["DIGEST", "PLATFORM", "TYPE"]];
            let row = |of: &BuildAttachment| [of.digest.clone(), of.platform.clone(), of.kind.clone()];
            let cells: Vec<[String; 3]> = self.attachments.iter().map(row).collect();
            rows.extend(cells.iter().map(|cells| cells.iter().map(String::as_str).collect()));
            text += &format!("Attachments:\n{}\n", tabbed(&rows));
        }
        text
    }
}

impl Config {
    fn pretty(&self) -> String {
        let yes = |set: bool| if set { "true".to_owned() } else { String::new() };
        let known = [
            ("Network:", self.network.clone()),
            ("Hostname:", self.hostname.clone()),
            ("Extra Hosts:", self.extra_hosts.join(", ")),
            ("Cgroup Parent:", self.cgroup_parent.clone()),
            ("Image Resolve Mode:", self.image_resolve_mode.clone()),
            ("Multi-Platform:", yes(self.multi_platform)),
            ("No Cache:", yes(self.no_cache)),
            ("No Cache Filter:", self.no_cache_filter.join(", ")),
            ("Shm Size:", self.shm_size.clone()),
            ("Resource Limits:", self.ulimit.clone()),
            ("Cache Mount Namespace:", self.cache_mount_ns.clone()),
            ("Dockerfile Check Config:", self.dockerfile_check_config.clone()),
            ("Source Date Epoch:", self.source_date_epoch.clone()),
            ("Sandbox Hostname:", self.sandbox_hostname.clone()),
        ];
        let rest: Vec<(String, String)> =
            self.rest_raw.iter().map(|pair| (format!("{}:", pair.name), pair.value.clone())).collect();
        let mut rows: Vec<Vec<&str>> = Vec::new();
        rows.extend(known.iter().filter(|(_, value)| !value.is_empty()).map(|(n, v)| vec![*n, v.as_str()]));
        rows.extend(rest.iter().map(|(name, value)| vec![name.as_str(), value.as_str()]));
        tabbed(&rows)
    }
}

/// What is known of these.
fn fields(fields: &[(&str, String)]) -> String {
    let known = fields.iter().filter(|(_, value)| !value.is_empty());
    tabbed(&known.map(|(name, value)| vec![*name, value.as_str()]).collect::<Vec<_>>())
}

fn table(title: &str, pairs: &[Pair]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let title = title.to_uppercase();
    let mut rows = vec![vec![title.as_str(), "VALUE"]];
    rows.extend(pairs.iter().map(|pair| vec![pair.name.as_str(), pair.value.as_str()]));
    tabbed(&rows) + "\n"
}

fn steps(steps: &[BuildStep]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let cells = |step: &BuildStep| {
        let platform = if step.platform.is_empty() { String::new() } else { format!("{} ", step.platform) };
        let took = format!("{:.1}s", step.millis as f64 / 1000.0);
        let instruction = crate::progress::build::shown(step.instruction.lines().next().unwrap_or_default());
        [step.step.to_string(), step.stage.clone(), step.result.clone(), took, platform + &instruction]
    };
    let cells: Vec<[String; 5]> = steps.iter().map(cells).collect();
    let mut rows = vec![vec!["STEP", "STAGE", "RESULT", "DURATION", "INSTRUCTION"]];
    rows.extend(cells.iter().map(|cells| cells.iter().map(String::as_str).collect()));
    tabbed(&rows) + "\n"
}

#[cfg(test)]
mod tests {
    use dray_client::api::build::{BuildFailure, BuildSummary};

    use super::*;

    #[test]
    fn a_build_is_shown_in_buildx_s_words() {
        let attrs = [
            ("context", "/src/app"),
            ("filename", "Dockerfile"),
            ("build-arg:V", "1"),
            ("label:l", "m"),
            ("no-cache", ""),
            ("odd", "x"),
            ("platform", "linux/amd64"),
        ];
        let summary = BuildSummary {
            r#ref: "abc".into(),
            status: "error".into(),
            attrs: attrs.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            error: Some(BuildFailure { code: 2, message: "bad".into() }),
            created_at: "2026-01-02T03:04:05Z".into(),
            completed_at: Some("2026-01-02T03:04:06Z".into()),
            total_steps: 4,
            completed_steps: 3,
            cached_steps: 1,
            ..BuildSummary::default()
        };
        let build = BuildDetail { summary, ..BuildDetail::default() };
        let shown = Shown::of(&build, Path::new("/nowhere"));
        let app = App::new("dray", None, Parsed::default());
        let text = shown.pretty(&app, &build, true);
        for line in [
            "Name:\t\tapp\n",
            "Ref:\t\tabc\n",
            "Platforms:\tlinux/amd64\n",
            "Duration:\t1.0s\n",
            "Error:\t\tUnknown bad\n",
            "Build Steps:\t3/4 (25% cached)\n",
            "No Cache:\ttrue\n",
            "odd:\t\tx\n",
            "BUILD ARG\tVALUE\nV\t\t1\n",
            "LABEL\tVALUE\nl\tm\n",
        ] {
            assert!(text.contains(line), "{line:?} in {text:?}");
        }
        let json = serde_json::to_value(&shown).expect("JSON");
        assert_eq!(
            (json["Status"].as_str(), json["Duration"].as_i64()),
            (Some("failed"), Some(1_000_000_000))
        );
        assert_eq!(json["Config"]["RestRaw"][0]["Name"], "odd");
    }
}
