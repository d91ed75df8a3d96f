//! `create`: makes a container, pulling its image if it is missing.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use dray_client::api::container::{ContainerCreateRequest, CreateResponse};
use dray_spec::Reference;

use super::options;
use crate::app::App;
use crate::command::image;
use crate::command_error::{Error, REFUSED};
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `create`
pub static COMMAND: Command = Command::new(
    "create",
    &["[OPTIONS] IMAGE [COMMAND] [ARG...]"],
    Args::AtLeast(1),
    "Make a container without starting it",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[options::FLAGS])
.program()
.also(&["container create", "create"]);

async fn run(app: &App, p: Parsed) -> Done {
    let refuse = |text: String| app.with_help(REFUSED, Error::Refused(text));
    check_pull(p.get("pull")).map_err(refuse)?;
    let request = options::request(&p).map_err(refuse)?;
    let made = create(app, &p, &request).await?;
    app.print(format!("{}\n", made.id))?;
    Ok(0)
}

/// Refuses what `--pull` does not take.
///
/// # Errors
/// It does not; the text is Docker's.
pub fn check_pull(value: &str) -> Result<(), String> {
    match value {
        "always" | "missing" | "never" | "" => Ok(()),
        other => Err(format!(
            "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        )),
    }
}

/// Creates the container that the flags ask for: pulls its image when it must, writes the id file, tells warnings.
///
/// # Errors
/// The daemon refuses, or a file is in the way.
pub async fn create(
    app: &App,
    p: &Parsed,
    request: &ContainerCreateRequest,
) -> Result<CreateResponse, Error> {
    let request = &with_proxies(app, request)?;
    let id_file = IdFile::reserve(p.get("cidfile"))?;
    let platform = platform(p);
    let image = &request.config.image;
    let pull = p.get("pull");
    if pull == "always" {
        image::pull::pull_for_create(app, image, &platform, p.is("quiet")).await?;
    }
    let client = app.client()?;
    let made = match client.container_create(p.get("name"), &platform, request).await {
        Err(e) if e.is_not_found() && matches!(pull, "missing" | "") && is_missing_image(&e) => {
            if !p.is("quiet") {
                app.warn(format!("Unable to find image '{}' locally", shown(image)));
            }
            image::pull::pull_for_create(app, image, &platform, p.is("quiet")).await?;
            client.container_create(p.get("name"), &platform, request).await?
        }
        other => other?,
    };
    for warning in &made.warnings {
        app.warn(format!("WARNING: {warning}"));
    }
    if let Some(file) = id_file {
        file.write(&made.id)?;
    }
    Ok(made)
}

/// The request with the proxy variables of the configuration, unless the flags set them.
fn with_proxies(app: &App, request: &ContainerCreateRequest) -> Result<ContainerCreateRequest, Error> {
    let mut request = request.clone();
    let proxies = app.config().borrow().proxies(&app.client()?.endpoint().text);
    let env = request.config.env.get_or_insert_default();
    for (name, value) in proxies {
        if !env.iter().any(|e| e.split('=').next() == Some(&name)) {
            env.push(format!("{name}={value}"));
        }
    }
    Ok(request)
}

/// The platform asked for by flag or environment.
pub fn platform(p: &Parsed) -> String {
    let flag = p.get("platform");
    if flag.is_empty() {
        std::env::var("DOCKER_DEFAULT_PLATFORM").unwrap_or_default()
    } else {
        flag.to_owned()
    }
}

fn is_missing_image(e: &dray_client::Error) -> bool {
    matches!(e, dray_client::Error::Api { message, .. } if message.to_lowercase().contains("no such image")
        || message.contains("not found")
        || message.contains("does not provide the specified platform"))
}

fn shown(image: &str) -> String {
    Reference::parse(image).map_or_else(|_| image.to_owned(), |r| r.tagged().familiar())
}

/// The file that gets the id: made before the container, removed if there is none in the end.
struct IdFile {
    path: PathBuf,
    written: bool,
}

impl IdFile {
    fn reserve(path: &str) -> Result<Option<IdFile>, Error> {
        if path.is_empty() {
            return Ok(None);
        }
        if Path::new(path).exists() {
            let text = format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            );
            return Err(Error::Refused(text));
        }
        std::fs::File::create(path)
            .map_err(Error::file("failed to create the container ID file: open", path))?;
        Ok(Some(IdFile { path: path.into(), written: false }))
    }

    fn write(mut self, id: &str) -> Result<(), Error> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(&self.path)
            .map_err(Error::file("open", &self.path))?;
        file.write_all(id.as_bytes()).map_err(Error::file("write", &self.path))?;
        self.written = true;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if !self.written {
            // The empty file is all that is lost if it cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
