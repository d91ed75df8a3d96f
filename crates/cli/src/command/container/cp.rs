//! `cp`: copies between a container and this machine, as tar streams both ways.
//!
//! What the copy is called at its destination follows `cp -a`: into a folder that exists under its own name, else
//! under the name given; `SRC/.` means the content of the folder.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dray_client::{Client, Upload};
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, Parsed, switch};
use crate::format::units::human_size_with;
use crate::opts::clean;
use crate::pack::{self, Packer};
use crate::spec::{Args, Command, Done};
use crate::terminal;
use crate::unpack::Unpacker;

const FLAGS: &[Flag] = &[
    switch("archive", 'a', "Keep owners"),
    switch("follow-link", 'L', "Copy what a link at SRC_PATH points to"),
    switch("quiet", 'q', "Say nothing; so it is without a terminal"),
];

/// `cp`
pub static COMMAND: Command = Command::new(
    "cp",
    &["[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-", "[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"],
    Args::Exactly(2),
    "Copy files between a container and this machine",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.details("With '-' as the source, a tar archive is read from standard input and unpacked in a folder of the\ncontainer; with '-' as the destination, one is written to standard output.")
.also(&["container cp", "cp"]);

/// Bits of Go's file mode.
const GO_DIR: u32 = 1 << 31;
const GO_LINK: u32 = 1 << 27;

async fn run(app: &App, p: Parsed) -> Done {
    let (source, target) = (p.args[0].as_str(), p.args[1].as_str());
    let refuse = |text: &str| Err(Error::Refused(text.to_owned()));
    if source.is_empty() {
        return refuse("source can not be empty");
    }
    if target.is_empty() {
        return refuse("destination can not be empty");
    }
    let quiet = p.is("quiet") || (!p.given("quiet") && !terminal::is_terminal(std::io::stdout()));
    let (from, to) = (split(source), split(target));
    let copied = match (from, to) {
        (Some((container, path)), None) => {
            from_container(app, container, path, target, p.is("follow-link")).await?
        }
        (None, Some((container, path))) => {
            let archive = p.is("archive");
            to_container(app, source, container, path, p.is("follow-link"), archive).await?
        }
        (Some(_), Some(_)) => return refuse("copying between containers is not supported"),
        (None, None) => return refuse("must specify at least one container source"),
    };
    if let (false, Some(bytes)) = (quiet, copied) {
        app.warn(format!("Successfully copied {} to {target}", human_size_with(bytes as f64, 3)));
    }
    Ok(0)
}

/// `CONTAINER:PATH`; a local path with a colon must begin with `/` or `.`.
fn split(argument: &str) -> Option<(&str, &str)> {
    if argument.starts_with('/') {
        return None;
    }
    argument.split_once(':').filter(|(container, _)| !container.starts_with('.'))
}

/// Whether a path says that it is a folder: by `/` or `/.` at its end.
fn asserts_folder(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "."
}

fn means_content(path: &str) -> bool {
    path.ends_with("/.") || path == "."
}

fn base_name(path: &str) -> String {
    let cleaned = clean(Path::new(path));
    Path::new(&cleaned).file_name().map_or_else(|| cleaned.clone(), |n| n.to_string_lossy().into_owned())
}

fn parent(path: &str) -> String {
    Path::new(path).parent().map_or_else(|| "/".into(), |p| p.display().to_string())
}

/// A link of the container's, resolved by one step.
fn resolve(path: &str, link: &str) -> String {
    if link.starts_with('/') {
        link.to_owned()
    } else {
        clean(&Path::new(&parent(&clean(Path::new(path)))).join(link))
    }
}

async fn from_container(
    app: &App,
    container: &str,
    path: &str,
    target: &str,
    follow: bool,
) -> Result<Option<u64>, Error> {
    let client = app.client()?;
    let mut source = path.to_owned();
    let mut called = None;
    if follow
        && let Ok(stat) = client.container_stat_path(container, path).await
        && stat.mode & GO_LINK != 0
    {
        called = Some(base_name(path));
        source = resolve(path, &stat.link_target);
    }
    if target != "-" {
        check_local_target(target)?;
    }
    let (body, stat) = client.container_copy_from(container, &source).await?;
    if target == "-" {
        crate::command::output_file::Target::Stdout.write(body).await?;
        return Ok(None);
    }
    let is_dir = stat.mode & GO_DIR != 0;
    let place = Place::find(target, is_dir, means_content(path))?;
    let own = base_name(&source);
    let name = match &place.name {
        Some(name) => name.clone(),
        None => called.unwrap_or_else(|| own.clone()),
    };
    let bytes = unpack(body, place.dir, own, name, place.content).await?;
    Ok(Some(bytes))
}

fn check_local_target(target: &str) -> Result<(), Error> {
    let absolute = std::env::current_dir().map_err(Error::file("getwd", "."))?.join(target);
    let dir = absolute.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        return Err(Error::Refused(format!(
            "invalid output path: directory \"{}\" does not exist",
            dir.display()
        )));
    }
    Ok(())
}

/// Where a copy goes on this machine.
struct Place {
    dir: PathBuf,
    /// Its name there; `None` keeps its own.
    name: Option<String>,
    /// Whether the content of the folder goes there and not the folder.
    content: bool,
}

impl Place {
    fn find(target: &str, source_is_dir: bool, content: bool) -> Result<Place, Error> {
        let path = Path::new(target);
        let exists = fs::metadata(path).ok();
        let into =
            |dir: &Path, name: Option<String>, content| Ok(Place { dir: dir.to_owned(), name, content });
        let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let refuse = |text: &str| Err(Error::Refused(text.to_owned()));
        match exists {
            Some(m) if m.is_dir() => into(path, None, content && source_is_dir),
            Some(_) if source_is_dir => refuse("cannot copy directory"),
            Some(_) if asserts_folder(target) => refuse("not a directory"),
            None if !source_is_dir && asserts_folder(target) => refuse("no such directory"),
            _ => into(above, Some(base_name(target)), false),
        }
    }
}

/// Unpacks a tar, whose first part is called `own`, in a folder as `name`.
async fn unpack(
    body: impl AsyncRead + Unpin + Send + 'static,
    dir: PathBuf,
    own: String,
    name: String,
    content: bool,
) -> Result<u64, Error> {
    let reader = SyncIoBridge::new(body);
    let work = move || {
        let mut counted = Counted { from: reader, bytes: 0 };
        let done = Unpacker { dir, own, name, content }.run(&mut counted);
        done.map(|()| counted.bytes)
    };
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::Io { what: "unpack", source: e.into() })?;
    done.map_err(Error::io("unpack the container's files"))
}

struct Counted<R> {
    from: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// What the destination in a container is.
struct Remote {
    path: String,
    exists: bool,
    is_dir: bool,
}

impl Remote {
    async fn find(client: &Client, container: &str, path: &str) -> Result<Remote, Error> {
        let mut remote = Remote { path: path.to_owned(), exists: false, is_dir: false };
        let mut stat = client.container_stat_path(container, path).await;
        if let Ok(s) = &stat
            && s.mode & GO_LINK != 0
        {
            remote.path = resolve(path, &s.link_target);
            stat = client.container_stat_path(container, &remote.path).await;
        }
        match stat {
            Ok(s) => (remote.exists, remote.is_dir) = (true, s.mode & GO_DIR != 0),
            // The folder above may be there: unpacking tells.
            Err(dray_client::Error::Api { .. } | dray_client::Error::Header { .. }) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(remote)
    }
}

async fn to_container(
    app: &App,
    source: &str,
    container: &str,
    path: &str,
    follow: bool,
    archive: bool,
) -> Result<Option<u64>, Error> {
    let client = app.client()?;
    let target = Remote::find(client, container, path).await?;
    if source == "-" {
        if !target.is_dir {
            return Err(Error::Refused(format!("destination \"{container}:{path}\" must be a directory")));
        }
        client.container_copy_to(container, &target.path, archive, Upload::tar_chunks(pack::stdin())).await?;
        return Ok(None);
    }
    let local = Local::find(source, follow)?;
    let (dir, name) = destination(&local, source, path, &target)?;
    let root = local.path.clone();
    let tar = pack::stream(move |out| {
        let mut packer = Packer::new(out);
        match name {
            Some(name) => packer.tree(&root, Path::new(&name))?,
            None => packer.context(&root, &dray_spec::dockerignore::Patterns::default())?,
        }
        packer.finish()
    });
    client.container_copy_to(container, &dir, archive, Upload::tar_chunks(tar)).await?;
    Ok(Some(size_of(&local.path)))
}

/// What is copied from this machine.
struct Local {
    path: PathBuf,
    is_dir: bool,
    /// Its name before links were followed.
    name: String,
}

impl Local {
    fn find(source: &str, follow: bool) -> Result<Local, Error> {
        let absolute = std::env::current_dir().map_err(Error::file("getwd", "."))?.join(source);
        let missing = |e: io::Error| Error::File {
            what: "lstat",
            path: clean(&absolute),
            source: crate::command_error::Sys(e),
        };
        let mut path = PathBuf::from(clean(&absolute));
        let name = path.file_name().map_or_else(|| "/".into(), |n| n.to_string_lossy().into_owned());
        if follow || asserts_folder(source) {
            path = fs::canonicalize(&path).map_err(missing)?;
        }
        let meta = fs::symlink_metadata(&path).map_err(missing)?;
        if asserts_folder(source) && !meta.is_dir() {
            return Err(Error::Refused("not a directory".into()));
        }
        Ok(Local { path, is_dir: meta.is_dir(), name })
    }
}

/// The folder of the container to unpack in, and the name that the copy gets; no name for the content alone.
fn destination(
    local: &Local,
    source: &str,
    path: &str,
    target: &Remote,
) -> Result<(String, Option<String>), Error> {
    let refuse = |text: &str| Err(Error::Refused(text.to_owned()));
    if target.exists && target.is_dir {
        if means_content(source) && local.is_dir {
            return Ok((target.path.clone(), None));
        }
        return Ok((target.path.clone(), Some(local.name.clone())));
    }
    if target.exists && local.is_dir {
        return refuse("cannot copy directory");
    }
    if asserts_folder(path) && !local.is_dir {
        return refuse(if target.exists { "not a directory" } else { "no such directory" });
    }
    let cleaned = clean(Path::new(&target.path));
    Ok((parent(&cleaned), Some(base_name(&cleaned))))
}

fn size_of(path: &Path) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return if meta.is_file() { meta.len() } else { 0 };
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.filter_map(Result::ok).map(|e| size_of(&e.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(build: impl FnOnce(&mut tar::Builder<&mut Vec<u8>>)) -> Vec<u8> {
        let mut out = Vec::new();
        let mut builder = tar::Builder::new(&mut out);
        build(&mut builder);
        builder.into_inner().unwrap();
        out
    }

    fn add(builder: &mut tar::Builder<&mut Vec<u8>>, kind: tar::EntryType, name: &str, content: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        match kind {
            tar::EntryType::Symlink => builder.append_link(&mut header, name, content).unwrap(),
            _ => {
                header.set_size(content.len() as u64);
                // A name that the library refuses is written into the header by hand.
                let bytes = name.as_bytes();
                header.as_gnu_mut().unwrap().name[..bytes.len()].copy_from_slice(bytes);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
    }

    fn unpacked(dir: &Path, own: &str, name: &str, content: bool, tar: &[u8]) -> io::Result<()> {
        let u = Unpacker { dir: dir.to_owned(), own: own.into(), name: name.into(), content };
        u.run(&mut &*tar)
    }

    #[test]
    fn arguments_are_split_as_scp_does() {
        assert_eq!(split("web:/etc"), Some(("web", "/etc")));
        assert_eq!(split("./a:b"), None);
        assert_eq!(split("/a:b"), None);
        assert_eq!(split("plain"), None);
    }

    #[test]
    fn copies_get_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let tar = tar_of(|b| {
            add(b, tar::EntryType::Directory, "src/", "");
            add(b, tar::EntryType::Regular, "src/a", "1");
        });
        unpacked(dir.path(), "src", "other", false, &tar).unwrap();
        unpacked(dir.path(), "src", "src", true, &tar).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("other/a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "1");
    }

    #[test]
    fn nothing_leaves_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("in");
        fs::create_dir(&inside).unwrap();
        let up = tar_of(|b| add(b, tar::EntryType::Regular, "src/../../evil", "x"));
        assert!(unpacked(&inside, "src", "src", false, &up).is_err());
        let link = tar_of(|b| {
            add(b, tar::EntryType::Directory, "src/", "");
            add(b, tar::EntryType::Symlink, "src/l", "../..");
            add(b, tar::EntryType::Regular, "src/l/evil", "x");
        });
        assert!(unpacked(&inside, "src", "src", false, &link).is_err());
        assert!(!dir.path().join("evil").exists());
    }
}
