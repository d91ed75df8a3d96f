//! A project as an OCI artifact: Compose files and env files as layers of a manifest, as Docker Compose publishes them.
//!
//! ```text
//! manifest   artifactType application/vnd.docker.compose.project, config {}
//!   layer    application/vnd.docker.compose.file+yaml   com.docker.compose.file: compose.yaml
//!   layer    the same of a file that is extended        com.docker.compose.file: <sha256 of its path>.yaml
//!   layer    application/vnd.docker.compose.envfile     com.docker.compose.envfile: <sha256 of its path>.env
//! index      of an application: subject the manifest; the services' images, which lie in the same repository
//! ```
//! `contents.rs` makes the parts of a project, `publish.rs` pushes them, `copy.rs` brings images along; reading is here.
//! What comes from a registry is hostile: files have plain names, and sizes have limits.

mod contents;
mod copy;
mod publish;

use dray_registry::Repository;
use dray_spec::{Descriptor, Digest, Index, Manifest};

pub use contents::contents;
pub use copy::copy;
pub use publish::{Version, publish, publish_images};

const PROJECT: &str = "application/vnd.docker.compose.project";
const FILE: &str = "application/vnd.docker.compose.file+yaml";
const ENV_FILE: &str = "application/vnd.docker.compose.envfile";
/// The config of artifacts of registries that know no `artifactType`.
const OLD_CONFIG: &str = "application/vnd.docker.compose.config.empty.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const FILE_NAME: &str = "com.docker.compose.file";
const ENV_FILE_NAME: &str = "com.docker.compose.envfile";
const EXTENDS: &str = "com.docker.compose.extends";

/// No file of a project is larger.
const MAX_FILE: u64 = 4 << 20;
/// No project has more files.
const MAX_FILES: usize = 100;

/// One file of a published project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name, without folders.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub content: Vec<u8>,
}

/// What a file of a published project is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A Compose file, laid over those before it.
    File,
    /// A Compose file whose services are extended.
    Extended,
    /// An env file.
    Env,
}

/// Why an artifact cannot be pushed or fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] dray_registry::Error),
    /// The manifest is none.
    #[error("manifest of {name}: {source}")]
    Manifest {
        /// The repository.
        name: String,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// It is an image, or something else.
    #[error("{0} is not a compose project OCI artifact")]
    Foreign(String),
    /// An index without a project in it.
    #[error("OCI index {0} doesn't refer to compose artifacts")]
    NoProject(String),
    /// A file's name would lead out of the project's folder.
    #[error("{name}: unsafe file name {file:?} in the artifact")]
    Name {
        /// The repository.
        name: String,
        /// The file.
        file: String,
    },
    /// A file cannot be read.
    #[error("open {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no Compose file.
    #[error(transparent)]
    Compose(#[from] crate::Error),
    /// A name of a file is written so that another one cannot take its place.
    #[error("{file}:{line}: the name {name:?} is not written on one line: it cannot be published")]
    Spread {
        /// The Compose file.
        file: String,
        /// Where it is.
        line: u32,
        /// The name.
        name: String,
    },
    /// What lies in the registry is no manifest.
    #[error("{name}: {source}")]
    Image {
        /// The repository.
        name: String,
        /// Why.
        source: dray_spec::ManifestError,
    },
    /// A blob cannot be kept on its way.
    #[error("{operation} {path}: {source}")]
    Draft {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There are too many files.
    #[error("{name}: an artifact of {count} files")]
    Many {
        /// The repository.
        name: String,
        /// How many.
        count: usize,
    },
}

/// A project in a registry, its files not fetched.
#[derive(Debug)]
pub struct Published {
    /// Of what the tag stands for.
    pub digest: Digest,
    document: bytes::Bytes,
}

/// Finds a project. A bundle of an application and its images is an index that has it in it.
///
/// # Errors
/// The registry refuses, or there is no project.
pub async fn resolve(from: &Repository, tag: &str) -> Result<Published, Error> {
    let raw = from.manifest(tag).await?;
    let index = serde_json::from_slice::<Index>(&raw.bytes).ok().filter(|_| is_index(&raw.bytes));
    let document = match index {
        None => raw.bytes,
        Some(index) => {
            let of_project = |d: &&Descriptor| d.artifact_type.as_deref() == Some(PROJECT);
            let found = index.manifests.iter().rfind(of_project);
            let found = found.ok_or_else(|| Error::NoProject(from.name()))?;
            from.manifest(found.digest.as_ref()).await?.bytes
        }
    };
    Ok(Published { digest: raw.digest, document })
}

/// Whether a document lists manifests: its type may be left out, or be a lie.
fn is_index(document: &[u8]) -> bool {
    let value: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    value.get("manifests").is_some() && value.get("layers").is_none()
}

/// Fetches the files of a project.
///
/// # Errors
/// The registry refuses, or it is no project.
pub async fn parts(from: &Repository, project: &Published) -> Result<Vec<Part>, Error> {
    let manifest: Manifest = serde_json::from_slice(&project.document)
        .map_err(|source| Error::Manifest { name: from.name(), source })?;
    let of_compose =
        manifest.artifact_type.as_deref() == Some(PROJECT) || manifest.config.media_type == OLD_CONFIG;
    if !of_compose {
        return Err(Error::Foreign(from.name()));
    }
    if manifest.layers.len() > MAX_FILES {
        return Err(Error::Many { name: from.name(), count: manifest.layers.len() });
    }
    let mut parts: Vec<Part> = Vec::new();
    for layer in &manifest.layers {
        let is_env = layer.media_type == ENV_FILE;
        if !is_env && layer.media_type != FILE {
            continue;
        }
        let content = from.small_blob(layer, MAX_FILE).await?;
        let named = layer.annotations.get(if is_env { ENV_FILE_NAME } else { FILE_NAME });
        let apart = is_env || layer.annotations.contains_key(EXTENDS);
        match parts.iter_mut().find(|p| !apart && p.name == MAIN) {
            // Files that are merged over one another become documents of one file.
            Some(main) => {
                main.content.extend_from_slice(b"\n---\n");
                main.content.extend(content);
            }
            None => {
                let name = if apart { safe(from, named)? } else { MAIN.to_owned() };
                let kind = match (is_env, apart) {
                    (true, _) => Kind::Env,
                    (false, true) => Kind::Extended,
                    (false, false) => Kind::File,
                };
                parts.push(Part { name, kind, content });
            }
        }
    }
    Ok(parts)
}

/// The file that all Compose files of an artifact become.
pub const MAIN: &str = "compose.yaml";

fn safe(from: &Repository, name: Option<&String>) -> Result<String, Error> {
    let file = name.cloned().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if file.is_empty() || file.starts_with("..") || file == "." || !file.chars().all(plain) {
        return Err(Error::Name { name: from.name(), file });
    }
    Ok(file)
}
