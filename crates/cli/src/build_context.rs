//! What `build` sends: the folder as a tar without what `.dockerignore` names, a Dockerfile from elsewhere put in,
//! an archive or Dockerfile from standard input, or nothing but a URL.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use dray_client::Upload;
use dray_spec::dockerignore::Patterns;
use futures_util::{StreamExt as _, stream};

use crate::command_error::{Error, Sys};
use crate::opts::clean;
use crate::pack::{self, Packer};
use listing::ignored_in;

pub mod listing;

/// The name that a Dockerfile from outside gets in the context.
const PUT_IN: &str = ".dockerfile.dray";
const IGNORE: &str = ".dockerignore";
/// A Dockerfile on standard input is read into memory up to here.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// A context, ready to send.
pub struct Context {
    /// What is sent.
    pub body: Body,
    /// The Dockerfile's name in it.
    pub dockerfile: String,
    /// The URL that the daemon fetches the context from, if any.
    pub remote: String,
    /// The Dockerfile is not there: it is sent.
    pub dockerfile_beside: bool,
}

/// What is sent of a context.
pub enum Body {
    /// As it is.
    Whole(Upload),
    /// Files of this machine: all of them, or those that are missing there.
    Files(Files),
}

impl Body {
    /// All of it.
    pub fn whole(self) -> Upload {
        match self {
            Body::Whole(upload) => upload,
            Body::Files(files) => files.archive(),
        }
    }
}

/// A folder that is sent, and what goes along.
pub struct Files {
    root: PathBuf,
    patterns: Patterns,
    /// A Dockerfile from elsewhere.
    put_in: Option<Vec<u8>>,
    /// The text of the ignore file.
    ignore: Option<String>,
    /// Where the folder is in the archive.
    main: PathBuf,
    beside: Vec<(String, PathBuf)>,
}

impl Files {
    fn archive(self) -> Upload {
        Upload::tar_chunks(pack::stream(move |out| {
            let mut packer = Packer::new(out);
            packer.folder.clone_from(&self.main);
            packer.owned_by_root = true;
            packer.context(&self.root, &self.patterns)?;
            // The later entry counts.
            for (name, content) in self.put_in() {
                packer.bytes(name, 0o600, &content)?;
            }
            pack_beside(&mut packer, &self.beside)?;
            packer.finish()
        }))
    }

    /// What goes along with a Dockerfile from elsewhere: it, and an ignore file by which it is no part of what COPY
    /// sees.
    fn put_in(&self) -> Vec<(&'static str, Vec<u8>)> {
        let Some(content) = &self.put_in else { return Vec::new() };
        let lines = format!("{}\n{PUT_IN}\n{IGNORE}\n", self.ignore.clone().unwrap_or_default());
        vec![(PUT_IN, content.clone()), (IGNORE, lines.into_bytes())]
    }
}

fn unable(why: impl std::fmt::Display) -> Error {
    Error::Refused(format!("unable to prepare context: {why}"))
}

/// What of a context is sent.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Folders that go along, each in one of the archive of this name. The main context is then in [`MAIN`].
    pub beside: Vec<(String, PathBuf)>,
    /// The Dockerfile and its ignore file alone.
    pub definition_only: bool,
    /// A Dockerfile that was fetched.
    pub dockerfile: Option<Vec<u8>>,
}

/// Where the main context is in an archive of several.
const MAIN: &str = "context";

/// Prepares the context named on the command line.
///
/// # Errors
/// It is not there, or cannot be read.
pub fn prepare(context: &Path, file: &str, wanted: Wanted) -> Result<Context, Error> {
    let text = context.to_string_lossy();
    if text == "-" {
        if file == "-" {
            let what = "invalid argument: can't use stdin for both build context and dockerfile";
            return Err(Error::Refused(what.into()));
        }
        return from_stdin(file, wanted);
    }
    if is_url(&text) {
        return from_url(text.into_owned(), file, wanted);
    }
    if !context.exists() {
        return Err(unable(format!("path \"{text}\" not found")));
    }
    from_dir(context, file, wanted)
}

/// A context that is not sent; a Dockerfile of this machine and folders by name are.
fn from_url(remote: String, file: &str, wanted: Wanted) -> Result<Context, Error> {
    let own = match (wanted.dockerfile, file) {
        (Some(text), _) => Some(text),
        (None, "-") => Some(dockerfile_from_stdin()?),
        (None, path) if path.starts_with('/') => {
            Some(std::fs::read(path).map_err(Error::file("unable to open Dockerfile: open", path))?)
        }
        _ => None,
    };
    let dockerfile = match (&own, file) {
        (Some(_), _) => PUT_IN,
        (None, "") => "Dockerfile",
        (None, file) => file,
    };
    let (dockerfile, dockerfile_beside) = (dockerfile.to_owned(), own.is_some());
    let upload = match own.is_none() && wanted.beside.is_empty() {
        true => Upload::Empty,
        false => Upload::tar_chunks(pack::stream(move |out| {
            let mut packer = Packer::new(out);
            if let Some(text) = own {
                packer.bytes(PUT_IN, 0o600, &text)?;
            }
            pack_beside(&mut packer, &wanted.beside)?;
            packer.finish()
        })),
    };
    Ok(Context { body: Body::Whole(upload), dockerfile, remote, dockerfile_beside })
}

fn dockerfile_from_stdin() -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let read = io::stdin().take(MAX_DOCKERFILE).read_to_end(&mut content);
    read.map_err(Error::io("read standard input"))?;
    Ok(content)
}

/// Whether a context is fetched by the daemon.
pub fn is_url(text: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://", "github.com/"].iter().any(|p| text.starts_with(p))
}

/// What begins an archive: gzip, bzip2, xz, zstd, or a tar's own mark.
fn is_archive(head: &[u8]) -> bool {
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    compressed.iter().any(|magic| head.starts_with(magic))
        || head.get(257..262).is_some_and(|m| m == b"ustar")
}

fn from_stdin(file: &str, wanted: Wanted) -> Result<Context, Error> {
    let failed = || Error::io("unable to prepare context from STDIN");
    let mut head = vec![0; 512];
    let mut filled = 0;
    let mut stdin = io::stdin();
    while filled < head.len() {
        match stdin.read(&mut head[filled..]).map_err(failed())? {
            0 => break,
            read => filled += read,
        }
    }
    head.truncate(filled);
    if is_archive(&head) {
        if !wanted.beside.is_empty() {
            return Err(unable("folders cannot go along with an archive from standard input"));
        }
        let dockerfile = if file.is_empty() { "Dockerfile".to_owned() } else { file.to_owned() };
        let chunks = stream::iter([Ok(head.into())]).chain(pack::stdin());
        let body = Body::Whole(Upload::tar_chunks(chunks));
        return Ok(Context { body, dockerfile, remote: String::new(), dockerfile_beside: false });
    }
    stdin.take(MAX_DOCKERFILE).read_to_end(&mut head).map_err(failed())?;
    let mut tar = Vec::new();
    let mut packer = Packer::new(&mut tar);
    packer.folder = main_folder(&wanted);
    packer
        .bytes("Dockerfile", 0o600, &head)
        .and_then(|()| pack_beside(&mut packer, &wanted.beside))
        .and_then(|()| packer.finish())
        .map_err(failed())?;
    let upload = Upload::Bytes { content_type: "application/x-tar", bytes: tar.into() };
    Ok(Context {
        body: Body::Whole(upload),
        dockerfile: "Dockerfile".into(),
        remote: String::new(),
        dockerfile_beside: false,
    })
}

/// Where the Dockerfile is.
enum Dockerfile {
    /// In the context, under this name.
    Inside(String),
    /// Elsewhere: its content.
    Outside(Vec<u8>),
}

fn from_dir(context: &Path, file: &str, wanted: Wanted) -> Result<Context, Error> {
    let root = std::fs::canonicalize(context).map_err(|e| unable(Sys(e)))?;
    if !root.is_dir() {
        return Err(unable(format!("context must be a directory: {}", context.display())));
    }
    let (dockerfile, ignore_beside) = match wanted.dockerfile.clone() {
        Some(text) => (Dockerfile::Outside(text), None),
        None => find_dockerfile(&root, file)?,
    };
    let ignore_text = read_ignore(&root, ignore_beside.as_deref())?;
    let (name, put_in) = match dockerfile {
        Dockerfile::Inside(name) => (name, None),
        Dockerfile::Outside(content) => (PUT_IN.to_owned(), Some(content)),
    };
    // The builder needs the Dockerfile and the ignore file, whatever the patterns say.
    let mut kept = ignore_text.clone().unwrap_or_default();
    if wanted.definition_only {
        kept = "**".to_owned();
    }
    if ignore_text.is_some() || wanted.definition_only {
        kept.push_str(&format!("\n!{IGNORE}\n!{name}\n!{name}{IGNORE}\n"));
    }
    let patterns =
        Patterns::parse(&kept).map_err(|e| Error::Refused(format!("error checking context: {e}")))?;
    check_readable(&root)?;
    let dockerfile = name.clone();
    let main = main_folder(&wanted);
    let files = Files { root, patterns, put_in, ignore: ignore_text, main, beside: wanted.beside };
    Ok(Context { body: Body::Files(files), dockerfile, remote: String::new(), dockerfile_beside: false })
}

/// A context whose root cannot be listed is refused before anything is sent.
fn check_readable(root: &Path) -> Result<(), Error> {
    std::fs::read_dir(root)
        .map(|_| ())
        .map_err(|e| Error::Refused(format!("error checking context: open {}: {}", root.display(), Sys(e))))
}

fn main_folder(wanted: &Wanted) -> PathBuf {
    PathBuf::from(if wanted.beside.is_empty() { "" } else { MAIN })
}

/// Folders beside the main context, each without what its own ignore file names.
fn pack_beside<W: Write>(packer: &mut Packer<W>, beside: &[(String, PathBuf)]) -> io::Result<()> {
    packer.owned_by_root = true;
    for (folder, root) in beside {
        let patterns = ignored_in(root)?;
        packer.folder = PathBuf::new();
        // It is there even if there is nothing in it.
        packer.entry(root, Path::new(folder), &std::fs::metadata(root)?)?;
        packer.folder = PathBuf::from(folder);
        packer.context(root, &patterns)?;
    }
    Ok(())
}

/// The Dockerfile, and the ignore file that belongs to it alone.
fn find_dockerfile(root: &Path, file: &str) -> Result<(Dockerfile, Option<PathBuf>), Error> {
    if file == "-" {
        return Ok((Dockerfile::Outside(dockerfile_from_stdin()?), None));
    }
    let path = if file.is_empty() {
        let (upper, lower) = (root.join("Dockerfile"), root.join("dockerfile"));
        if !upper.exists() && lower.exists() { lower } else { upper }
    } else {
        let here = std::env::current_dir().map_err(Error::file("getwd", "."))?;
        PathBuf::from(clean(&here.join(file)))
    };
    let beside =
        path.with_file_name(format!("{}{IGNORE}", path.file_name().unwrap_or_default().to_string_lossy()));
    let beside = beside.exists().then_some(beside);
    let real = std::fs::canonicalize(&path).map_err(|e| {
        let e = Sys(e);
        unable(format!("unable to evaluate symlinks in Dockerfile path: lstat {}: {e}", path.display()))
    })?;
    let inside = path.strip_prefix(root).or_else(|_| real.strip_prefix(root));
    match inside {
        Ok(name) => Ok((Dockerfile::Inside(name.to_string_lossy().into_owned()), beside)),
        Err(_) => {
            let content =
                std::fs::read(&real).map_err(Error::file("unable to open Dockerfile: open", &path))?;
            Ok((Dockerfile::Outside(content), beside))
        }
    }
}

fn read_ignore(root: &Path, beside: Option<&Path>) -> Result<Option<String>, Error> {
    let path = beside.map_or_else(|| root.join(IGNORE), Path::to_owned);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::file("open", &path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::TryStreamExt as _;

    async fn sent(context: Context) -> Vec<(String, String)> {
        let Upload::Stream { chunks, .. } = context.body.whole() else { panic!("a stream") };
        let bytes = chunks.try_collect::<Vec<_>>().await.unwrap().concat();
        let mut tar = tar::Archive::new(bytes.as_slice());
        let read = |mut e: tar::Entry<&[u8]>| {
            let mut text = String::new();
            e.read_to_string(&mut text).unwrap();
            (e.path().unwrap().display().to_string(), text)
        };
        tar.entries().unwrap().map(|e| read(e.unwrap())).collect()
    }

    #[tokio::test]
    async fn ignored_files_stay_but_dockerfile_goes() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("Dockerfile", "FROM x"), ("a", "1"), ("b.log", "2"), (".dockerignore", "*.log\nDockerfile")]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let context = prepare(dir.path(), "", Wanted::default()).unwrap();
        assert_eq!(context.dockerfile, "Dockerfile");
        let names: Vec<String> = sent(context).await.into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, [".dockerignore", "Dockerfile", "a"]);
    }

    #[tokio::test]
    async fn a_dockerfile_from_outside_is_put_in() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ctx")).unwrap();
        std::fs::write(dir.path().join("ctx/a"), "1").unwrap();
        std::fs::write(dir.path().join("other"), "FROM y").unwrap();
        let file = dir.path().join("other").display().to_string();
        let context = prepare(&dir.path().join("ctx"), &file, Wanted::default()).unwrap();
        assert_eq!(context.dockerfile, PUT_IN);
        let all = sent(context).await;
        assert!(all.contains(&(PUT_IN.into(), "FROM y".into())));
        assert!(all.iter().any(|(n, t)| n == IGNORE && t.contains(PUT_IN)));
    }

    #[test]
    fn missing_things_are_named() {
        let error = |r: Result<Context, Error>| r.err().unwrap().to_string();
        assert_eq!(
            error(prepare(Path::new("/nope"), "", Wanted::default())),
            "unable to prepare context: path \"/nope\" not found"
        );
        let dir = tempfile::tempdir().unwrap();
        let text = error(prepare(dir.path(), "", Wanted::default()));
        assert!(
            text.starts_with(
                "unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat "
            ),
            "{text}"
        );
        assert!(text.ends_with("Dockerfile: no such file or directory"), "{text}");
    }

    #[test]
    fn archives_are_recognised() {
        assert!(is_archive(b"\x1f\x8b\x08"));
        assert!(!is_archive(b"FROM scratch\n"));
    }
}
