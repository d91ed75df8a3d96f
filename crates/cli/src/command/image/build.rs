//! `build`: sends the context, shows the steps.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dray_client::api::build::{BUILD_EVENT_ID, BuildEvent, BuildPlace, BuildPlaceKind, BuildResult};
use dray_client::api::progress::ProgressMessage;
use dray_client::{JsonStream, Query, Upload};
use dray_spec::Descriptor;

use super::build_call::Question;
use super::pull::parse;
use crate::app::App;
use crate::build_context::listing::Listing;
use crate::build_context::{self, Body, Files, Wanted};
use crate::build_session::content::{self, Stores};
use crate::build_session::output::{Destination, Outputs};
use crate::build_session::{BuildSession, Offers};
use crate::builder;
use crate::command::builder::history::explanation;
use crate::command::output_file::Target;
use crate::command_error::{Error, Sys};
use crate::credential::auth_header;
use crate::flag::{Flag, NONE, Parsed, bytes, commas, int, list, switch, text};
use crate::opts::cache::{self, Cache};
use crate::opts::output::{self, Output, Place};
use crate::opts::{env, host, limit, pairs};
use crate::progress::build::raw::Raw;
use crate::progress::build::{Display, Style};
use crate::progress::{self, failure};
use crate::spec::{Args, Command, Done};
use crate::terminal;

mod epoch;
pub(in crate::command) mod vcs;

const FLAGS: &[Flag] = &[
    list("add-host", NONE, "Add a line to the hosts file of RUN (name:address)")
        .check(host::check_extra_host),
    list("allow", NONE, "Let RUN have more than any container (network.host, security.insecure, device)"),
    list("annotation", NONE, "Add an annotation to the image's manifest (key=value)"),
    list("attest", NONE, "An attestation (type=sbom, type=provenance,mode=max)").shown("stringArray"),
    list("build-arg", NONE, "Set a build argument; without a value, this environment's")
        .check(env::check_env),
    text("builder", NONE, "Where to build: a builder of buildx that is a daemon (BUILDX_BUILDER)"),
    list("build-context", NONE, "Another context by name (name=path, docker-image://, https://)")
        .check(check_context),
    list("cache-from", NONE, "Cache to take steps from (an image, type=local,src=path)").shown("stringArray"),
    list("cache-to", NONE, "Where to put the cache (type=registry,ref=name,mode=max)").shown("stringArray"),
    text("call", NONE, "What to do: build, check, outline or targets").default("build").check(check_call),
    switch("check", NONE, "Check the Dockerfile, build nothing; the same as --call=check"),
    text("cgroup-parent", NONE, "Cgroup to make those of RUN in"),
    switch("compress", NONE, "Kept for old scripts").hidden(),
    int("cpu-period", NONE, "Period of the CPU quota in microseconds").default("0"),
    int("cpu-quota", NONE, "CPU time per period in microseconds").default("0"),
    int("cpu-shares", 'c', "CPU weight, relative to others").default("0"),
    text("cpuset-cpus", NONE, "CPUs that RUN may use (0-3, 0,1)"),
    text("cpuset-mems", NONE, "Memory nodes that RUN may use (0-3, 0,1)"),
    switch("debug", 'D', "Kept for scripts of buildx").hidden(),
    switch("disable-content-trust", NONE, "Kept for old scripts").default("true").hidden(),
    switch("explain", NONE, "Tell why steps were carried out: what had changed since the last build"),
    text("file", 'f', "The Dockerfile, if it is not PATH/Dockerfile"),
    switch("force-rm", NONE, "Kept for old scripts").hidden(),
    text("iidfile", NONE, "Write the image's id to this file"),
    text("isolation", NONE, "Kind of isolation (Windows)").hidden(),
    list("label", NONE, "Set a label of the image").check(env::check_label),
    switch("load", NONE, "Keep the image in the store, whatever else is put out"),
    bytes("memory", 'm', "Limit of memory"),
    text("memory-swap", NONE, "Limit of memory and swap together; -1 for unlimited swap")
        .shown("bytes")
        .check(limit::check_swap),
    text("metadata-file", NONE, "Write what is known of the result to this file"),
    text("network", NONE, "Network of RUN").default("default"),
    switch("no-cache", NONE, "Carry out all steps anew"),
    list("no-cache-filter", NONE, "Carry out the steps of this stage anew").shown("stringArray"),
    list("output", 'o', "Where the result goes (type=local,dest=path)").shown("stringArray"),
    list("platform", NONE, "Platforms to build for").shown("stringArray"),
    text("progress", NONE, "How to show progress: auto, none, plain, tty, quiet or rawjson")
        .default("auto")
        .check(check_progress),
    text("provenance", NONE, "How the image was made (true, mode=max); short for --attest=type=provenance"),
    switch("pull", NONE, "Look for newer base images"),
    switch("push", NONE, "Push the image; short for --output=type=registry"),
    switch("quiet", 'q', "Show the image's id only, at the end"),
    switch("reproducible", NONE, "Give all that is new the time of the context's last commit"),
    switch("rm", NONE, "Kept for old scripts").default("true").hidden(),
    text("sbom", NONE, "What the image is made of (true, format=cyclonedx); short for --attest=type=sbom"),
    list("secret", NONE, "A secret for RUN (id=mysecret[,src=/local/secret|,env=VARIABLE])"),
    commas("security-opt", NONE, "Security option"),
    bytes("shm-size", NONE, "Size of /dev/shm in RUN"),
    switch("squash", NONE, "Make one layer of all new ones"),
    list("ssh", NONE, "An SSH agent for RUN (default|<id>[=<socket>])"),
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

pub(in crate::command) fn check_progress(value: &str) -> Result<(), String> {
    match value {
        "auto" | "none" | "plain" | "tty" | "quiet" | "rawjson" => Ok(()),
        _ => Err("must be auto, none, plain, tty, quiet or rawjson".into()),
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

fn contexts(texts: &[String], stores: &mut Stores) -> Result<Beside, Error> {
    let (mut contexts, mut beside) = Beside::default();
    for (name, value) in texts.iter().filter_map(|text| text.split_once('=')) {
        let is_local = !build_context::is_url(value) && !value.contains("://");
        let value = match (is_local, value.strip_prefix("oci-layout://")) {
            (false, Some(place)) => layout(value, place, stores)?,
            (false, None) => value.to_owned(),
            (true, _) => {
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

/// `path[:tag][@digest]`, as the daemon takes it: a store of the session, and the digest.
fn layout(value: &str, place: &str, stores: &mut Stores) -> Result<String, Error> {
    let failed =
        |why: String| Error::Refused(format!("oci-layout reference {value:?} could not be resolved: {why}"));
    let (path, digest) = place.split_once('@').map_or((place, None), |(path, digest)| (path, Some(digest)));
    let (path, tag) = path.split_once(':').unwrap_or((path, "latest"));
    let digest = match digest {
        Some(digest) => digest.to_owned(),
        None => {
            let tagged =
                content::tagged(path.as_ref(), tag).map_err(|error| failed(Sys(error).to_string()))?;
            tagged.ok_or_else(|| failed(format!("no {tag:?} in it")))?.to_string()
        }
    };
    Ok(format!("oci-layout://{}@{digest}", stores.add_layout(path)))
}

fn check_tag(value: &str) -> Result<(), String> {
    parse(value).map(|_| ()).map_err(|e| e.to_string())
}

/// Who is told of a build instead of the terminal, where several are shown together.
pub trait Listener {
    /// An event of Dray's daemon.
    ///
    /// # Errors
    /// It cannot be shown.
    fn event(&self, event: BuildEvent) -> Result<(), Error>;
    /// Text of another daemon.
    ///
    /// # Errors
    /// It cannot be shown.
    fn text(&self, text: &str) -> Result<(), Error>;
}

/// `--progress=none`
struct Silence;

impl Listener for Silence {
    fn event(&self, _: BuildEvent) -> Result<(), Error> {
        Ok(())
    }

    fn text(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

/// How a build ended.
pub enum Ended {
    /// A question is answered.
    Answer(Question, BTreeMap<String, String>),
    /// Something is built.
    Built(Outcome),
}

async fn run(app: &App, p: Parsed) -> Done {
    builder::choose(app, p.get("builder"))?;
    let id_file = p.get("iidfile");
    if !id_file.is_empty() {
        match std::fs::remove_file(id_file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::file("removing image ID file: remove", id_file)(e));
            }
            _ => {}
        }
    }
    let done = match carry_out(app, &p, None).await? {
        Ended::Answer(question, answer) => return question.show(app, &answer),
        Ended::Built(done) => done,
    };
    let id = done.image();
    if !id_file.is_empty() {
        let puts_out = ["output", "annotation"].iter().any(|flag| !p.all(flag).is_empty());
        if id.is_empty() && !puts_out && !p.is("push") && !p.is("load") {
            return Err(Error::Refused(format!(
                "server did not provide an image ID. Cannot write {id_file}"
            )));
        }
        std::fs::write(id_file, id).map_err(Error::file("write", id_file))?;
    }
    if !p.get("metadata-file").is_empty() {
        let path = p.get("metadata-file");
        std::fs::write(path, json_lines(&done.metadata())?).map_err(Error::file("write", path))?;
    }
    Ok(0)
}

/// Carries out a build, or asks what is asked. A listener hears of it instead of the terminal.
///
/// # Errors
/// A flag is wrong, the build fails.
pub async fn carry_out(app: &App, p: &Parsed, listener: Option<&dyn Listener>) -> Result<Ended, Error> {
    let call = Question::read(p);
    let offers = Offers::parse(&p.all("secret"), &p.all("ssh")).map_err(Error::Refused)?;
    let outputs = output::outputs(&p.all("output"), p.is("push"), p.is("load"), &p.all("annotation"))
        .map_err(Error::Refused)?;
    let mut caches = Caches::read(app, p)?;
    let (contexts, beside) = contexts(&p.all("build-context"), &mut caches.stores)?;
    let dockerfile = fetched_dockerfile(app, p.get("file")).await?;
    let wanted = Wanted { beside, definition_only: call.is_some(), dockerfile };
    let context = build_context::prepare(p.raw_args[0].as_ref(), p.get("file"), wanted)?;
    let progress = progress_of(p)?;
    let quiet = p.is("quiet") || progress == "quiet";
    let mut args = build_args(&p.all("build-arg"));
    for (name, value) in app.config().borrow().proxies(&app.client()?.endpoint().text) {
        args.entry(name).or_insert(Some(value));
    }
    if let Some(epoch) = epoch::of_build(p.raw_args[0].as_ref(), p.is("reproducible"))? {
        args.entry(epoch::SOURCE_DATE_EPOCH.to_owned()).or_insert(Some(epoch));
    }
    let mut query = query(p, &args, &context.dockerfile, &context.remote)?;
    let attests = attests(p).map_err(Error::Refused)?;
    if !attests.is_empty() {
        query.add("attests", &json(&attests)?);
    }
    if !contexts.is_empty() {
        query.add("contexts", &json(&contexts)?);
    }
    for entitlement in p.all("allow") {
        query.add("allow", &entitlement);
    }
    let vcs = vcs::of_context(p.raw_args[0].as_ref(), p.get("file"));
    if !vcs.is_empty() {
        query.add("vcs", &json(&vcs)?);
    }
    if context.dockerfile_beside {
        query.add("dockerfilebeside", "1");
    }
    query.add("source", &source(p.raw_args[0].as_ref()));
    let build_id = build_id();
    query.add("buildid", &build_id);
    let auths = auth_header(&app.config().borrow().all_auths().unwrap_or_default());
    if let Some(question) = call {
        query.add("call", &question.name);
        let session = BuildSession { offers, ..BuildSession::default() };
        // What is asked of a repository may need its secret.
        if !context.remote.is_empty() && !session.is_empty() {
            query.add("session", &session.open(app.client()?).await?);
        }
        let answer = app.client()?.build_call(query, &auths, context.body.whole()).await?;
        return Ok(Ended::Answer(question, answer));
    }
    query.add("dray", "1");
    let stores = std::mem::take(&mut caches.stores);
    let session = BuildSession { offers, outputs: taken_here(&outputs)?, stores };
    if !session.is_empty() {
        query.add("session", &session.open(app.client()?).await?);
    }
    caches.add_to(&mut query)?;
    if !outputs.is_empty() {
        query.add("outputs", &json(&outputs.iter().map(|o| &o.asked).collect::<Vec<_>>())?);
    }
    let upload = match context.body {
        Body::Whole(upload) => upload,
        Body::Files(files) => missing(app, files, &mut query).await?,
    };
    let messages = app.client()?.image_build(query, &auths, upload).await?;
    let of_dray = messages.headers().get("server").is_some_and(|s| s.as_bytes().starts_with(b"Dray/"));
    if (!outputs.is_empty() || !caches.exports.is_empty()) && !of_dray {
        return Err(Error::Refused("the daemon does not support outputs: use docker buildx for it".into()));
    }
    let screen = Screen { app, stdout_taken: outputs.iter().any(|o| o.place == Some(Place::Stdout)) };
    let done = if let Some(listener) = listener {
        heard(listener, messages, of_dray).await
    } else if progress == "none" && !quiet {
        heard(&Silence, messages, of_dray).await
    } else if quiet {
        quietly(&screen, messages).await
    } else if of_dray && (app.name != "docker" || progress == "rawjson") {
        with_steps(&screen, messages, style(&screen, &progress)).await
    } else {
        classic(&screen, messages).await
    };
    if p.is("explain") {
        if !of_dray {
            return Err(Error::Refused("the daemon does not explain builds: --explain needs Dray's".into()));
        }
        print_error(explanation(&app.client()?.build_inspect(&build_id).await?, false))?;
    }
    let done = done?;
    caches.tag(&done.told)?;
    Ok(Ended::Built(done))
}

/// The Dockerfile that an address leads to, if `--file` is one.
async fn fetched_dockerfile(app: &App, file: &str) -> Result<Option<Vec<u8>>, Error> {
    if !["http://", "https://"].iter().any(|scheme| file.starts_with(scheme)) {
        return Ok(None);
    }
    let place = app.client()?.build_place(file, &[], true, "").await?;
    let is_file = |place: &BuildPlace| place.kind == BuildPlaceKind::File;
    let text = place.filter(is_file).and_then(|place| place.files.into_iter().next());
    let missing = || Error::Refused(format!("{file} is no Dockerfile"));
    Ok(Some(text.ok_or_else(missing)?.text.into_bytes()))
}

/// What of a context the daemon has not had before, where it compares; else all of it.
async fn missing(app: &App, files: Files, query: &mut Query) -> Result<Upload, Error> {
    let prepared = |error: std::io::Error| Error::Refused(format!("unable to prepare context: {error}"));
    let Some(listing) = Listing::of(&files).map_err(prepared)? else { return Ok(Body::Files(files).whole()) };
    match app.client()?.build_context(&listing.asked).await? {
        None => Ok(Body::Files(files).whole()),
        Some(answer) => {
            query.add("context", &answer.id);
            Ok(listing.archive(answer.missing))
        }
    }
}

/// Where the context comes from, for the history: a folder in full, an address, `-`.
fn source(context: &Path) -> String {
    let full = std::fs::canonicalize(context).ok();
    full.map_or_else(|| context.to_string_lossy().into_owned(), |full| full.to_string_lossy().into_owned())
}

/// A reference for the build, as BuildKit's clients make them.
fn build_id() -> String {
    let mut random = [0; 25];
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
    random.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect()
}

/// Where what comes here goes.
fn taken_here(outputs: &[Output]) -> Result<Outputs, Error> {
    let mut here = Outputs::default();
    for (number, output) in outputs.iter().enumerate() {
        let kind = &output.asked.kind;
        let destination = match &output.place {
            None => continue,
            Some(Place::Folder(dir)) => Destination::Folder(dir.into()),
            Some(Place::Stdout) if terminal::is_terminal(std::io::stdout()) => {
                return Err(Error::Refused(format!(
                    "dest file is required for {kind} exporter. refusing to write to console"
                )));
            }
            Some(Place::Stdout) => Destination::Bytes(Target::Stdout),
            Some(Place::File(path)) if Path::new(path).is_dir() => {
                return Err(Error::Refused(format!("destination file is a directory: {path}")));
            }
            Some(Place::File(path)) => Destination::Bytes(Target::check(path, "failed to write the output")?),
        };
        here.add(number, destination);
    }
    Ok(here)
}

/// The caches of a build elsewhere, and the folders of this machine among them.
#[derive(Default)]
struct Caches {
    imports: Vec<Cache>,
    exports: Vec<Cache>,
    stores: Stores,
}

impl Caches {
    fn read(app: &App, p: &Parsed) -> Result<Caches, Error> {
        let read = |flag: &str| cache::caches(&p.all(flag)).map_err(Error::Refused);
        let (mut caches, imports) =
            (Caches { exports: read("cache-to")?, ..Caches::default() }, read("cache-from")?);
        let environment = |name: &str| std::env::var(name).ok();
        caches.exports.retain_mut(|cache| cache.complete(environment));
        for mut import in imports {
            if !import.complete(environment) {
                continue;
            }
            if import.kind != "local" {
                caches.imports.push(import);
                continue;
            }
            let (src, tag) = (import.attrs.get("src").cloned().unwrap_or_default(), tag_of(&import));
            if src.is_empty() {
                return Err(Error::Refused("local cache importer requires src".into()));
            }
            // A cache that cannot be had is none.
            match content::tagged(src.as_ref(), &tag) {
                Ok(Some(digest)) => {
                    import.attrs.entry("digest".to_owned()).or_insert_with(|| digest.to_string());
                    caches.stores.add(&src);
                    caches.imports.push(import);
                }
                Ok(None) => {
                    app.warn(format!("WARNING: local cache import at {src} skipped: no {tag:?} in it"))
                }
                Err(error) => app.warn(format!("WARNING: local cache import at {src} skipped: {error}")),
            }
        }
        for export in caches.exports.iter().filter(|export| export.kind == "local") {
            match export.attrs.get("dest").filter(|dest| !dest.is_empty()) {
                Some(dest) => drop(caches.stores.add(dest)),
                None => return Err(Error::Refused("local cache exporter requires dest".into())),
            }
        }
        Ok(caches)
    }

    fn add_to(&self, query: &mut Query) -> Result<(), Error> {
        for (name, caches) in [("cacheimports", &self.imports), ("cacheexports", &self.exports)] {
            if !caches.is_empty() {
                query.add(name, &json(caches)?);
            }
        }
        Ok(())
    }

    /// Gives what came into folders its tag there.
    fn tag(&self, told: &BTreeMap<String, String>) -> Result<(), Error> {
        let Some(manifest) = told.get("cache.manifest") else { return Ok(()) };
        let manifest: Descriptor = serde_json::from_str(manifest)
            .map_err(|source| Error::Json { what: "cache.manifest".into(), source })?;
        for export in self.exports.iter().filter(|export| export.kind == "local") {
            let dest = export.attrs.get("dest").cloned().unwrap_or_default();
            let tagged = content::tag(dest.as_ref(), manifest.clone(), &tag_of(export));
            tagged.map_err(Error::file("write the index of", &dest))?;
        }
        Ok(())
    }
}

fn tag_of(cache: &Cache) -> String {
    cache.attrs.get("tag").cloned().unwrap_or_else(|| "latest".to_owned())
}

/// What is known of results, as text for a file.
///
/// # Errors
/// Never in practice: all of it has names that are texts.
pub fn json_lines<T: serde::Serialize>(metadata: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec_pretty(metadata).map_err(|source| Error::Json { what: "metadata".into(), source })
}

/// Where the progress goes: standard output, unless that is an output of the build.
struct Screen<'a> {
    app: &'a App,
    stdout_taken: bool,
}

impl Screen<'_> {
    fn print(&self, text: impl AsRef<[u8]>) -> Result<(), Error> {
        if !self.stdout_taken {
            return self.app.print(text);
        }
        print_error(text)
    }

    /// Columns and lines.
    fn size(&self) -> (usize, usize) {
        let size = terminal::size(self.fd()).filter(|(height, width)| *height > 0 && *width > 0);
        size.map_or((80, usize::MAX), |(height, width)| (usize::from(width), usize::from(height)))
    }

    fn fd(&self) -> BorrowedFd<'static> {
        if self.stdout_taken { rustix::stdio::stderr() } else { rustix::stdio::stdout() }
    }
}

fn print_error(text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(Error::io("write standard error"))
}

/// What came of a build.
#[derive(Default)]
pub struct Outcome {
    /// The image's id, if it is in the store.
    id: String,
    /// What was told of the outputs.
    told: BTreeMap<String, String>,
}

impl Outcome {
    /// The image's id; empty if there is no image.
    pub fn image(&self) -> &str {
        self.told.get("containerimage.config.digest").unwrap_or(&self.id)
    }

    /// What was told of the result; descriptors in it are JSON too.
    pub fn metadata(&self) -> BTreeMap<String, serde_json::Value> {
        let value = |text: &String| {
            let decoded = STANDARD.decode(text).ok();
            let object = decoded.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
            object.filter(serde_json::Value::is_object).unwrap_or_else(|| text.clone().into())
        };
        self.told.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    /// Takes in what a message carries.
    fn take_in(&mut self, aux: serde_json::Value) {
        let fields = aux.as_object().cloned().unwrap_or_default();
        if let Some(id) = id_of(aux) {
            self.id = id;
        } else if !fields.contains_key("type") {
            let text = |(key, value): (String, serde_json::Value)| Some((key, value.as_str()?.to_owned()));
            self.told.extend(fields.into_iter().filter_map(text));
        }
    }
}

/// How a build is shown.
enum Shown {
    /// To people.
    Display(Display),
    /// To programs, on standard error.
    Raw(Raw),
}

fn style(screen: &Screen<'_>, progress: &str) -> Shown {
    let fd = screen.fd();
    let live = Style::Live { coloured: terminal::is_coloured(fd) };
    let style = match progress {
        "rawjson" => return Shown::Raw(Raw::default()),
        "plain" => Style::Plain,
        "tty" => live,
        _ if terminal::is_live(fd) => live,
        _ => Style::Plain,
    };
    Shown::Display(Display::new(style, screen.size().0))
}

/// The flag, else what the environment says, as with buildx.
pub(in crate::command) fn progress_of(p: &Parsed) -> Result<String, Error> {
    let from_environment = std::env::var("BUILDKIT_PROGRESS").unwrap_or_default();
    if p.given("progress") || from_environment.is_empty() {
        return Ok(p.get("progress").to_owned());
    }
    let wrong = |error| Error::Refused(format!("invalid progress mode {from_environment:?}: {error}"));
    check_progress(&from_environment).map_err(wrong)?;
    Ok(from_environment)
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
        .with_some("platform", platforms(p).to_lowercase())
        .with_flag("pull", p.is("pull"))
        .with_flag("q", p.is("quiet") || progress_of(p)? == "quiet")
        .with_some("remote", remote)
        .with("rm", "1")
        .with_some("shmsize", size("shm-size"))
        .with_flag("squash", p.is("squash"))
        .with_some("target", p.get("target"))
        .with("ulimits", json(&ulimits)?)
        .with("version", "1");
    let anew = p.all("no-cache-filter");
    if p.is("no-cache") && !anew.is_empty() {
        let text = "--no-cache and --no-cache-filter cannot currently be used together";
        return Err(Error::Refused(text.into()));
    }
    for stage in anew.iter().flat_map(|stages| stages.split(',')) {
        query.add("nocachefilter", stage);
    }
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

/// Attestations by their attributes, as buildx reads them.
fn attests(p: &Parsed) -> Result<BTreeMap<String, String>, String> {
    let mut attests = BTreeMap::new();
    let mut add = |kind: &str, rest: &str| match attests.insert(format!("attest:{kind}"), rest.to_owned()) {
        None => Ok(()),
        Some(_) => Err(format!("duplicate attestation field {kind}")),
    };
    for text in p.all("attest") {
        let fields: Vec<&str> = text.split(',').collect();
        let kind = fields.iter().find_map(|field| field.strip_prefix("type="));
        let rest: Vec<&str> = fields.iter().filter(|field| !field.starts_with("type=")).copied().collect();
        add(kind.ok_or("attestation type not specified")?, &rest.join(","))?;
    }
    for kind in ["provenance", "sbom"] {
        match p.get(kind) {
            "" => {}
            "true" | "1" => add(kind, "")?,
            "false" | "0" => add(kind, "disabled=true")?,
            text => add(kind, text)?,
        }
    }
    Ok(attests)
}

/// The platforms, given at once or one by one; else this environment's.
fn platforms(p: &Parsed) -> String {
    match p.all("platform") {
        given if given.is_empty() => std::env::var("DOCKER_DEFAULT_PLATFORM").unwrap_or_default(),
        given => given.join(","),
    }
}

fn id_of(aux: serde_json::Value) -> Option<String> {
    serde_json::from_value::<BuildResult>(aux).ok().map(|r| r.id).filter(|id| !id.is_empty())
}

/// The id alone, which the daemon sends as the only output.
async fn quietly(screen: &Screen<'_>, mut messages: JsonStream<ProgressMessage>) -> Result<Outcome, Error> {
    let (mut done, mut said) = (Outcome::default(), String::new());
    while let Some(message) = messages.next().await? {
        if let Some(error) = failure(&message) {
            if !said.is_empty() {
                screen.app.warn(said.trim_end());
            }
            return Err(error);
        }
        said.push_str(&message.stream);
        if let Some(aux) = message.aux {
            done.take_in(aux);
        }
    }
    if done.id.is_empty() {
        done.id = said.trim().to_owned();
    }
    screen.print(format!("{}\n", done.id))?;
    Ok(done)
}

/// Docker's own text.
async fn classic(screen: &Screen<'_>, messages: JsonStream<ProgressMessage>) -> Result<Outcome, Error> {
    let mut done = Outcome::default();
    if screen.stdout_taken {
        return with_steps(screen, messages, style(screen, "plain")).await;
    }
    progress::show(screen.app, messages, |aux| done.take_in(aux)).await?;
    Ok(done)
}

/// A listener hears all of it.
async fn heard(
    listener: &dyn Listener,
    mut messages: JsonStream<ProgressMessage>,
    of_dray: bool,
) -> Result<Outcome, Error> {
    let mut done = Outcome::default();
    while let Some(message) = messages.next().await? {
        if let Some(error) = failure(&message) {
            return Err(error);
        }
        // Dray's daemon says the same by its events.
        if !of_dray && !message.stream.is_empty() {
            listener.text(&message.stream)?;
        }
        let Some(aux) = message.aux else { continue };
        if message.id != BUILD_EVENT_ID {
            done.take_in(aux);
            continue;
        }
        let event = serde_json::from_value(aux).unwrap_or(BuildEvent::Unknown);
        if let BuildEvent::Built { id } = &event {
            done.id.clone_from(id);
        }
        listener.event(event)?;
    }
    Ok(done)
}

/// The steps as Dray's daemon tells of them.
async fn with_steps(
    screen: &Screen<'_>,
    mut messages: JsonStream<ProgressMessage>,
    mut shown: Shown,
) -> Result<Outcome, Error> {
    let mut frames = tokio::time::interval(Duration::from_millis(100));
    frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut done = Outcome::default();
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            _ = frames.tick() => {
                if let Shown::Display(display) = &mut shown {
                    let (width, height) = screen.size();
                    display.resize(width, height);
                    screen.print(display.frame())?;
                }
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
                        if let BuildEvent::Built { id } = &event {
                            done.id.clone_from(id);
                        }
                        match &mut shown {
                            Shown::Display(display) => screen.print(display.event(event))?,
                            Shown::Raw(raw) => print_error(raw.event(event))?,
                        }
                    } else {
                        done.take_in(aux);
                    }
                    continue;
                }
            },
            Ok(None) => Ok(()),
            Err(e) => Err(e.into()),
        };
        if let Shown::Display(display) = &mut shown {
            screen.print(display.finish())?;
        }
        return ended.map(|()| done);
    }
}
