//! The Dockerfile of a request, and what its context leaves out.

use crate::dockerfile::{self, Dockerfile};
use crate::dockerignore::Patterns;
use crate::error::BuildError;
use crate::request::{BuildRequest, DockerfileSource};

/// A Dockerfile as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
    /// What the context leaves out, or shall leave out.
    pub(crate) ignore: Option<Patterns>,
}

/// Finds the Dockerfile. One that is in the context has an ignore file beside it.
pub(crate) fn source(request: &BuildRequest) -> Result<Source, BuildError> {
    let (name, text) = match &request.dockerfile {
        DockerfileSource::Text { name, text } => {
            let (name, text) = (name.clone(), text.clone());
            return Ok(Source { name, text, ignore: request.ignore.clone() });
        }
        DockerfileSource::InContext(path) => read_from_context(request, path)?,
    };
    let mut ignore = None;
    if let Some(context) = &request.context {
        let own = context.read(&format!("{name}.dockerignore"))?;
        let bytes = match own {
            Some(bytes) => Some(bytes),
            None => context.read(".dockerignore")?,
        };
        let patterns = Patterns::parse(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
        ignore = Some(patterns.map_err(BuildError::Ignore)?).filter(|patterns| !patterns.is_empty());
    }
    Ok(Source { name, text, ignore })
}

/// Finds and parses the Dockerfile, and takes out of the context what is to be ignored; gives the patterns too.
pub(crate) fn read(request: &BuildRequest) -> Result<(Dockerfile, Option<Patterns>), BuildError> {
    let Source { name, text, ignore } = source(request)?;
    let dockerfile = dockerfile::parse(&text, &name)?;
    if let Some(syntax) = dockerfile.syntax.as_ref().filter(|syntax| !dockerfile::is_own_frontend(syntax)) {
        let name = syntax.split_whitespace().next().unwrap_or_default();
        return Err(BuildError::Frontend(name.to_owned()));
    }
    let in_context = matches!(request.dockerfile, DockerfileSource::InContext(_));
    if let (true, Some(context), Some(patterns)) = (in_context, &request.context, &ignore) {
        context.remove_ignored(patterns)?;
    }
    Ok((dockerfile, ignore))
}

fn read_from_context(request: &BuildRequest, path: &str) -> Result<(String, String), BuildError> {
    let missing = || BuildError::NoDockerfile(path.to_owned());
    let context = request.context.as_ref().ok_or_else(missing)?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if let Some(bytes) = context.read(path)? {
        return Ok((path.to_owned(), text(bytes)));
    }
    match path {
        "Dockerfile" => match context.read("dockerfile")? {
            Some(bytes) => Ok(("dockerfile".to_owned(), text(bytes))),
            None => Err(missing()),
        },
        _ => Err(missing()),
    }
}
