//! Bake files of an address: a repository, an archive or one file, fetched by the daemon. Paths in files of the first two
//! are seen from there; `cwd://path` is of this machine.

use dray_bake::File;
use dray_bake::target::Target;
use dray_client::api::build::BuildPlaceKind;
use dray_client::query::segment;
use dray_spec::glob::clean_path;

use super::words::is_elsewhere;
use crate::app::App;
use crate::build_context::is_url;
use crate::build_session::{BuildSession, Offers};
use crate::command_error::Error;

/// Paths of this machine, in files of another place.
pub(super) const HERE: &str = "cwd://";
/// Secrets that open a repository's server, and the variables that hold them.
const GIT_SECRETS: [(&str, &str); 2] =
    [("GIT_AUTH_TOKEN", "BUILDX_BAKE_GIT_AUTH_TOKEN"), ("GIT_AUTH_HEADER", "BUILDX_BAKE_GIT_AUTH_HEADER")];

/// The secrets of the environment that open a repository's server, in the words of `--secret`.
pub(super) fn git_secrets() -> Vec<String> {
    let given = GIT_SECRETS.iter().filter(|(_, variable)| std::env::var_os(variable).is_some());
    given.map(|(id, variable)| format!("id={id},env={variable}")).collect()
}

/// A folder that paths in bake files are seen from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    address: String,
}

impl Remote {
    /// Reads bake files: those of these names, else what is called as bake files are; and where they are, if they are in
    /// a folder.
    ///
    /// # Errors
    /// The daemon cannot fetch it, or a file is not there.
    pub async fn read(
        app: &App,
        address: &str,
        names: &[String],
    ) -> Result<(Vec<File>, Option<Remote>), Error> {
        let client = app.client()?;
        let secrets = git_secrets();
        let offers = Offers::parse(&secrets, &[]).map_err(Error::Refused)?;
        let session = match secrets.is_empty() {
            true => String::new(),
            false => BuildSession { offers, ..BuildSession::default() }.open(client).await?,
        };
        let (wanted, optional) = match names {
            [] => (dray_bake::DEFAULT_FILES.iter().map(|name| (*name).to_owned()).collect(), true),
            names => (names.to_vec(), false),
        };
        let place = client.build_place(address, &wanted, optional, &session).await?;
        let place = place.ok_or_else(|| {
            let text = "the daemon does not read bake files of an address: use docker buildx bake for it";
            Error::Refused(text.into())
        })?;
        let files = place.files.into_iter().map(|file| File { name: file.name, text: file.text }).collect();
        let remote = match place.kind {
            BuildPlaceKind::Folder => Some(Remote { address: address.to_owned() }),
            BuildPlaceKind::File => None,
        };
        Ok((files, remote))
    }

    /// Sees the paths of a target from here: they become addresses.
    ///
    /// # Errors
    /// It wants a Dockerfile from here for a context of this machine.
    pub fn place(&self, target: &mut Target) -> Result<(), String> {
        for context in target.contexts.iter_mut().flatten().map(|(_, context)| context) {
            if !context.starts_with(HERE) && !is_elsewhere(context) {
                *context = self.folder(context);
            }
        }
        let context = target.context.clone().unwrap_or_default();
        let Some(folder) = context.strip_prefix(HERE) else {
            if !is_url(&context) {
                target.context = Some(self.folder(&context));
            }
            return Ok(());
        };
        let file = target.dockerfile.clone().unwrap_or_default();
        let has_inline = target.dockerfile_inline.as_ref().is_some_and(|text| !text.is_empty());
        let is_meant_here = file.starts_with(HERE) || is_url(&file) || has_inline;
        if !is_meant_here && std::path::Path::new(&clean_path(folder)).join(&file).exists() {
            let text = "reading a dockerfile for a remote build invocation is currently not supported";
            return Err(text.to_owned());
        }
        Ok(())
    }

    /// The address of a folder in this one; `..` does not lead out of it.
    fn folder(&self, path: &str) -> String {
        let path = clean_path(&format!("/{path}"));
        let path = path.trim_start_matches('/');
        if path.is_empty() {
            return self.address.clone();
        }
        let joined = |folder: &str| clean_path(&format!("{folder}/{path}"));
        let (base, fragment) = self.address.split_once('#').unwrap_or((&self.address, ""));
        if let Some((start, own)) = base.split_once('?')
            && own.split('&').any(|field| field.starts_with("subdir="))
        {
            let changed = |field: &str| match field.strip_prefix("subdir=") {
                // What is escaped in it stays so.
                Some(folder) => format!("subdir={folder}/{}", segment(path)),
                None => field.to_owned(),
            };
            let query: Vec<String> = own.split('&').map(changed).collect();
            let end = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
            return format!("{start}?{}{end}", query.join("&"));
        }
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let folder = joined(folder);
        format!("{base}#{reference}:{}", folder.trim_start_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_remote_place_has_an_address() {
        for (address, path, expected) in [
            ("https://e.org/a.git", ".", "https://e.org/a.git"),
            ("https://e.org/a.git", "app", "https://e.org/a.git#:app"),
            ("https://e.org/a.git#v1", "./app/x", "https://e.org/a.git#v1:app/x"),
            ("https://e.org/a.git#v1:sub", "app", "https://e.org/a.git#v1:sub/app"),
            ("https://e.org/a.git#v1:sub", "../../etc", "https://e.org/a.git#v1:sub/etc"),
            ("https://e.org/a.git?ref=v1", "app", "https://e.org/a.git?ref=v1#:app"),
            ("https://e.org/a.git?subdir=s&ref=v1", "a b", "https://e.org/a.git?subdir=s/a%20b&ref=v1"),
            ("https://e.org/a.tar.gz", "/app", "https://e.org/a.tar.gz#:app"),
        ] {
            assert_eq!(Remote { address: address.into() }.folder(path), expected, "{address} {path}");
        }
    }

    #[test]
    fn paths_of_a_target_are_seen_from_there() {
        let remote = Remote { address: "https://e.org/a.git#main".into() };
        let contexts = [
            ("all", "."),
            ("base", "target:base"),
            ("here", "cwd://lib"),
            ("image", "docker-image://x"),
            ("lib", "lib"),
            ("other", "https://e.org/b.git"),
        ];
        let contexts = contexts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut target = Target {
            context: Some("app".into()),
            dockerfile: Some("cwd://Dockerfile".into()),
            contexts: Some(contexts.into()),
            ..Target::default()
        };
        remote.place(&mut target).expect("fits");
        assert_eq!(target.context.as_deref(), Some("https://e.org/a.git#main:app"));
        let contexts = target.contexts.as_ref().expect("contexts");
        let values: Vec<&str> = contexts.values().map(String::as_str).collect();
        let expected = [
            "https://e.org/a.git#main",
            "target:base",
            "cwd://lib",
            "docker-image://x",
            "https://e.org/a.git#main:lib",
            "https://e.org/b.git",
        ];
        assert_eq!(values, expected);
    }
}
