//! `compose publish`: a project goes into a registry.

use std::path::Path;

use dray_client::api::auth::AuthConfig;
use dray_compose::Project;
use dray_compose::artifact::{self, Part};
use dray_compose::model::Form;
use dray_compose::render::yaml;
use dray_registry::{Auth, Client, ClientConfig, Repository};
use dray_spec::Reference;

use super::config::{images_only, pinned};
use super::delegate;
use super::project::{self, How};
use super::up::agreed;
use crate::app::App;
use crate::command::image::{pull::parse, push as image_push};
use crate::command_error::Error;
use crate::flag::{NONE, Parsed, switch, text};
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
    text("oci-version", NONE, "Version of the artifact's form (1.0, 1.1)"),
    switch("resolve-image-digests", NONE, "Pin image tags to digests"),
    switch("y", NONE, "Old name of --yes").hidden(),
    switch("with-env", NONE, "Publish env files too"),
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
    let reference = parse(&p.args[0])?.tagged();
    let old = match p.get("oci-version") {
        "" | "1.1" => false,
        "1.0" => true,
        other => return refused(format!("unsupported OCI version: {other}")),
    };
    let mut project = project::load(app, &[], How { keep_env_files: true, ..How::default() })?;
    check(app, &project, &p)?;
    for service in project.services.values().filter(|s| s.build.is_some()) {
        delegate(app, &image_push::COMMAND, vec![service.image.clone()]).await?;
    }
    let mut parts = Vec::new();
    for file in &project.files {
        parts.push(part(Path::new(file), false)?);
    }
    if p.is("with-env") {
        let files =
            project.services.values().flat_map(|s| &s.env_file).filter(|f| Path::new(&f.path).exists());
        for file in files {
            let env = part(Path::new(&file.path), true)?;
            if !parts.contains(&env) {
                parts.push(env);
            }
        }
    }
    if p.is("resolve-image-digests") {
        for service in project.services.values_mut().filter(|s| !s.image.is_empty()) {
            service.image = pinned(app, &service.image).await?;
        }
        let content = yaml::document(&images_only(&project).write(Form::Yaml)).into_bytes();
        parts.push(Part { name: "image-digests.yaml".into(), is_env: false, content });
    }
    let tag = reference.tag().unwrap_or("latest");
    let digest = artifact::publish(&repository(app, &reference, true)?, tag, &parts, old).await?;
    app.print(format!("{reference} published, digest: {digest}\n"))?;
    Ok(0)
}

fn part(path: &Path, is_env: bool) -> Result<Part, Error> {
    let content = std::fs::read(path).map_err(Error::file("open", path))?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Part { name, is_env, content })
}

/// What an artifact cannot hold, and what the user should think of before others see it.
fn check(app: &App, project: &Project, p: &Parsed) -> Result<(), Error> {
    for file in &project.files {
        let text = std::fs::read_to_string(file).map_err(Error::file("open", file))?;
        let documents = dray_compose::parse::yaml::parse(&text, 0)?;
        if documents.iter().any(|d| d.root.get("include").is_some()) {
            return refused("cannot publish compose file with local includes".into());
        }
        let services = documents.iter().filter_map(|d| d.root.get("services")?.map()).flatten();
        for (name, service) in services {
            if service.get("extends").is_some_and(|e| e.get("file").is_some()) {
                return refused(format!(
                    "cannot publish service {name:?}, which extends one of another file"
                ));
            }
        }
    }
    let mut bare: Vec<&String> = Vec::new();
    for (name, service) in &project.services {
        if service.build.is_some() && service.image.is_empty() {
            bare.push(name);
        }
        if !service.env_file.is_empty() && !p.is("with-env") {
            return refused(format!(
                "service {name:?} has env_file declared.\nTo avoid leaking sensitive data, you must either explicitly allow the sending of environment variables by using the --with-env flag,\nor remove sensitive data from your Compose configuration"
            ));
        }
        if let Some(far) = service
            .env_file
            .iter()
            .find(|f| Path::new(&f.path).parent() != Some(Path::new(&project.directory)))
        {
            return refused(format!(
                "service {name:?}: only env files beside the Compose file can be published, not {}",
                far.path
            ));
        }
    }
    if !bare.is_empty() {
        let list: Vec<String> = bare.iter().map(|n| format!("- {n:?}")).collect();
        return refused(format!(
            "your Compose stack cannot be published as it only contains a build section for service(s):\n{}",
            list.join("\n")
        ));
    }
    let binds: Vec<&str> = project
        .services
        .values()
        .flat_map(|s| &s.volumes)
        .filter(|v| v.kind == "bind")
        .map(|v| v.source.as_str())
        .collect();
    if binds.is_empty() || agreed(p) {
        return Ok(());
    }
    let question = format!(
        "you are about to publish bind mounts declaration within your OCI artifact.\nonly the bind mount declarations will be added to the OCI artifact (not content)\nplease double check that you are not mounting potential user's sensitive directories or data\n{}\nAre you ok to publish these bind mount declarations?",
        binds.join("\n")
    );
    if app.confirm(&question)? { Ok(()) } else { Err(Error::Exit(1)) }
}
