//! `compose publish`: a project goes into a registry, with its images if it is to be an application.
//!
//! ```text
//! consent.rs   what others would see of it, and whether that is meant     secret.rs   what looks like a secret
//! ```

mod consent;
mod secret;

use dray_client::api::auth::AuthConfig;
use dray_compose::Project;
use dray_compose::apply::{Progress as _, Status};
use dray_compose::artifact::{self, Kind, Part, Version};
use dray_compose::load::RealDisk;
use dray_compose::model::Form;
use dray_compose::render::yaml;
use dray_registry::{Auth, Client, ClientConfig, Repository};
use dray_spec::{Descriptor, Reference};

use super::config::{images_only, pinned};
use super::delegate;
use super::display::Display;
use super::image::told;
use super::project::{self, How};
use super::up::agreed;
use crate::app::App;
use crate::command::image::{pull::parse, push as image_push};
use crate::command_error::Error;
use crate::flag::{NONE, Parsed, switch, text};
use crate::format::time;
use crate::spec::{Args, Command, Done};

/// `compose publish`
pub static COMMAND: Command = Command::new(
    "publish",
    &["[OPTIONS] REPOSITORY[:TAG]"],
    Args::Exactly(1),
    "Publish compose application",
    |a, p| Box::pin(publish(a, p)),
)
.flags(&[&[
    switch("app", NONE, "Publish an application: the images of the services, too"),
    text(
        "oci-version",
        NONE,
        "Version of the artifact's form, 1.0 or 1.1 (default: what the registry takes)",
    ),
    switch("resolve-image-digests", NONE, "Pin image tags to digests"),
    switch("y", NONE, "Old name of --yes").hidden(),
    switch("with-env", NONE, "Publish environment variables and env files too"),
    switch("yes", 'y', "Answer yes to all questions"),
]]);

fn refused<T>(text: String) -> Result<T, Error> {
    Err(Error::Refused(text))
}

impl From<artifact::Error> for Error {
    fn from(error: artifact::Error) -> Error {
        Error::Refused(error.to_string())
    }
}

/// A repository, with the user's credentials.
///
/// # Errors
/// The client cannot be set up.
pub fn repository(app: &App, reference: &Reference, push: bool) -> Result<Repository, Error> {
    let auth = credentials(&app.config().borrow().auth(reference.domain()).unwrap_or_default());
    let failed = |e: dray_registry::Error| Error::Refused(e.to_string());
    let client = Client::new(ClientConfig::from_env()).map_err(failed)?;
    let found = if push { client.push_target(reference, &auth) } else { client.repository(reference, &auth) };
    found.map_err(failed)
}

fn credentials(config: &AuthConfig) -> Auth {
    if !config.registrytoken.is_empty() {
        return Auth::RegistryToken(config.registrytoken.clone());
    }
    let user = config.username.clone();
    if !config.identitytoken.is_empty() {
        return Auth::IdentityToken { user, token: config.identitytoken.clone() };
    }
    if user.is_empty() { Auth::Anonymous } else { Auth::Basic { user, password: config.password.clone() } }
}

async fn publish(app: &App, p: Parsed) -> Done {
    let name = &p.args[0];
    let reference = parse(name)?.tagged();
    let version = match p.get("oci-version") {
        "" => None,
        "1.1" => Some(Version::V1_1),
        "1.0" => Some(Version::V1_0),
        other => return refused(format!("unsupported OCI version: {other}")),
    };
    let mut project = project::load(app, &[], How { remember_env_files: true, ..How::default() })?;
    project.set_profiles(vec!["*".to_owned()]);
    consent::can_be_published(&project)?;
    if !agreed(&p) && !consent::is_meant(app, &project, p.is("with-env"))? {
        return Ok(0);
    }
    push_built(app, &project).await?;
    let mut parts = artifact::contents(&project, &RealDisk::default(), p.is("with-env"))?;
    if p.is("resolve-image-digests") || p.is("app") {
        parts.push(digests(app, &project).await?);
    }
    let display = Display::new(app, "Publishing")?;
    display.event(told(name, Status::Working, "publishing"));
    if !app.group.is("dry-run") {
        let to = Destination { app, reference: &reference, version };
        let done = to.put(&parts, p.is("app").then_some(&project)).await;
        done.inspect_err(|_| display.event(told(name, Status::Error, "publishing")))?;
    }
    display.event(told(name, Status::Done, "published"));
    display.finish();
    Ok(0)
}

/// Pushes the images that the project can build: others are in a registry already.
async fn push_built(app: &App, project: &Project) -> Result<(), Error> {
    let display = Display::new(app, "Pushing")?;
    for (name, service) in &project.services {
        if service.image.is_empty() && service.provider.is_none() {
            return refused(format!(
                "\"service.image\" attribute is mandatory to push an image for service {name:?}"
            ));
        }
        let Some(build) = service.build.as_ref().filter(|_| !service.image.is_empty()) else {
            display.event(told(name, Status::Done, "Skipped"));
            continue;
        };
        for tag in std::iter::once(&service.image).chain(&build.tags).filter(|_| !app.group.is("dry-run")) {
            // What is published may still be of use; whether images are there, an application finds out.
            if let Err(error) = delegate(app, &image_push::COMMAND, vec![tag.clone()]).await {
                app.warn(format!("Pushing {name}: {error}"));
            }
        }
    }
    display.finish();
    Ok(())
}

/// A file that lies over the others and pins their images.
async fn digests(app: &App, project: &Project) -> Result<Part, Error> {
    let mut pins = images_only(project);
    for service in pins.services.values_mut().filter(|s| !s.image.is_empty()) {
        service.image = pinned(app, &service.image).await?;
    }
    let content = yaml::document(&pins.write(Form::Yaml)).into_bytes();
    Ok(Part { name: "image-digests.yaml".into(), kind: Kind::File, content })
}

/// Where the artifact goes.
struct Destination<'a> {
    app: &'a App,
    reference: &'a Reference,
    version: Option<Version>,
}

impl Destination<'_> {
    /// Puts the artifact there, and all images of an application.
    async fn put(&self, parts: &[Part], application: Option<&Project>) -> Result<(), Error> {
        let to = repository(self.app, self.reference, true)?;
        let tag = self.reference.tag().unwrap_or("latest");
        let created = time::rfc3339_local(time::now());
        let mut artifact = artifact::publish(&to, tag, parts, self.version, &created).await?;
        let Some(project) = application else { return Ok(()) };
        artifact.data = None;
        let images = self.images(project, &to).await?;
        artifact::publish_images(&to, artifact, images).await?;
        Ok(())
    }

    async fn images(&self, project: &Project, to: &Repository) -> Result<Vec<Descriptor>, Error> {
        let mut images = Vec::new();
        for service in project.services.values().filter(|s| !s.image.is_empty()) {
            let image = parse(&service.image)?.tagged();
            let from = repository(self.app, &image, false)?;
            let digest = image.digest().map(ToString::to_string);
            let wanted = digest.as_deref().or(image.tag()).unwrap_or("latest");
            images.push(artifact::copy(&from, wanted, to).await?);
        }
        Ok(images)
    }
}
