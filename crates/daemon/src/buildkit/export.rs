//! Outputs: what was built goes where the client wants it, each output a vertex named as BuildKit names it.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use dray_api::auth::AuthConfig;
use dray_buildkit::grpc::{Code, Status};
use dray_buildkit::proto::session::Stat;
use dray_buildkit::{ArchiveWriter, FileSyncError, SentFiles, Session, go_mode};
use dray_engine::build::{Export, Output, OutputKind, Results, Service};
use dray_image::export::{Rootfs, RootfsEntry};
use dray_spec::Reference;
use rustix::fs::FileType;

use super::caller::credentials;
use super::failure;

/// What of an output is told while it is made.
pub(crate) trait ExportProgress: Send + Sync {
    /// Something was done.
    fn note(&self, what: &str);
}

/// Where results go.
pub(crate) struct Exporter {
    builds: Arc<Service>,
    /// The client, where it has a session.
    session: Option<Session>,
    /// Credentials that came with the request.
    auths: BTreeMap<String, AuthConfig>,
}

/// An output's name as clients show it.
pub(crate) fn title(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Image => "exporting to image",
        OutputKind::Oci => "exporting to oci image format",
        OutputKind::Docker => "exporting to docker image format",
        OutputKind::Tar => "exporting to client tarball",
        OutputKind::Local => "exporting to client directory",
    }
}

impl Exporter {
    pub(crate) fn new(
        builds: Arc<Service>,
        session: Option<Session>,
        auths: BTreeMap<String, AuthConfig>,
    ) -> Self {
        Exporter { builds, session, auths }
    }

    /// Carries out the output of this number; gives what clients are told of it.
    pub(crate) async fn export(
        &self,
        number: usize,
        output: &Output,
        results: &Results,
        progress: &dyn ExportProgress,
    ) -> Result<HashMap<String, String>, Status> {
        match output.kind {
            OutputKind::Image => self.image(output, results, progress).await,
            OutputKind::Oci | OutputKind::Docker => self.archive(number, output, results, progress).await,
            OutputKind::Tar => self.tar(number, output, results, progress).await,
            OutputKind::Local => self.local(number, output, results, progress).await,
        }
    }

    async fn described(
        &self,
        output: &Output,
        results: &Results,
        progress: &dyn ExportProgress,
    ) -> Result<Export, Status> {
        progress.note("exporting layers");
        let (builds, wanted, results) = (Arc::clone(&self.builds), output.clone(), results.clone());
        let work = move || builds.export(&results, &wanted);
        let exported = tokio::task::spawn_blocking(work).await.map_err(failure::internal)?;
        exported.map_err(failure::engine)
    }

    async fn image(
        &self,
        output: &Output,
        results: &Results,
        progress: &dyn ExportProgress,
    ) -> Result<HashMap<String, String>, Status> {
        let mut export = self.described(output, results, progress).await?;
        if let Some(built) = results.main() {
            progress.note(&format!("writing image {}", built.image));
        }
        for name in &output.names {
            progress.note(&format!("naming to {name}"));
        }
        if output.push {
            progress.note("pushing layers");
            let credentials = self.credentials(&output.names).await;
            self.builds.push(&mut export, &credentials).await.map_err(failure::engine)?;
            let digest = export.told.get("containerimage.digest").cloned().unwrap_or_default();
            for name in &output.names {
                progress.note(&format!("pushing manifest for {name}@{digest}"));
            }
        }
        Ok(export.told)
    }

    /// Credentials for the registries of these names.
    async fn credentials(&self, names: &[Reference]) -> BTreeMap<String, AuthConfig> {
        let mut found = self.auths.clone();
        for name in names {
            if let (Some(session), false) = (&self.session, found.contains_key(name.domain())) {
                found.insert(name.domain().to_owned(), credentials(session, name.domain()).await);
            }
        }
        found
    }

    async fn archive(
        &self,
        number: usize,
        output: &Output,
        results: &Results,
        progress: &dyn ExportProgress,
    ) -> Result<HashMap<String, String>, Status> {
        if output.kind == OutputKind::Docker && results.is_index() {
            let text = "docker exporter does not currently support exporting manifest lists";
            return Err(failure::invalid(text));
        }
        let export = self.described(output, results, progress).await?;
        if let Some(digest) = export.told.get("containerimage.digest") {
            progress.note(&format!("exporting manifest {digest}"));
        }
        if let Some(digest) = export.told.get("containerimage.config.digest") {
            progress.note(&format!("exporting config {digest}"));
        }
        progress.note("sending tarball");
        let (builds, told) = (Arc::clone(&self.builds), export.told.clone());
        self.send(number, &told, move |out| builds.write_archive(&export, out).map_err(failure::engine))
            .await?;
        Ok(told)
    }

    async fn tar(
        &self,
        number: usize,
        output: &Output,
        results: &Results,
        progress: &dyn ExportProgress,
    ) -> Result<HashMap<String, String>, Status> {
        let folders = self.folders(output, results)?;
        progress.note("sending tarball");
        let write = move |out: &mut ArchiveWriter| {
            let all = folders.iter().map(|(name, rootfs)| (name.as_str(), rootfs.as_ref()));
            Rootfs::tar_all(all, out).map(drop).map_err(failure::internal)
        };
        self.send(number, &HashMap::new(), write).await?;
        Ok(HashMap::new())
    }

    async fn local(
        &self,
        number: usize,
        output: &Output,
        results: &Results,
        progress: &dyn ExportProgress,
    ) -> Result<HashMap<String, String>, Status> {
        let files = Folders { all: self.folders(output, results)?, visited: Vec::new() };
        progress.note("copying files");
        let sent = self.session()?.send_files(number, files).await;
        sent.map_err(|error| match error {
            FileSyncError::Call(status) => status,
            other => failure::internal(other),
        })?;
        Ok(HashMap::new())
    }

    /// The files of all results, each with the folder that it goes to: one of its own where there are several.
    fn folders(&self, output: &Output, results: &Results) -> Result<Vec<(String, Arc<Rootfs>)>, Status> {
        let split = output.platform_split.unwrap_or(results.is_index());
        let one = |(platform, built): (&dray_spec::Platform, &dray_build::Built)| {
            let folder = if split { platform.to_string().replace('/', "_") } else { String::new() };
            Ok((folder, Arc::new(self.builds.rootfs(built).map_err(failure::engine)?)))
        };
        let folders: Vec<(String, Arc<Rootfs>)> = results.each().map(one).collect::<Result<_, Status>>()?;
        if !split && folders.len() > 1 {
            let names = results.each().map(|(platform, _)| platform.to_string());
            check_apart(names.zip(&folders))?;
        }
        Ok(folders)
    }

    fn session(&self) -> Result<&Session, Status> {
        self.session
            .as_ref()
            .ok_or_else(|| failure::invalid("no session in the request: nobody takes the output"))
    }

    /// Sends what `write` writes to the client.
    async fn send(
        &self,
        number: usize,
        told: &HashMap<String, String>,
        write: impl FnOnce(&mut ArchiveWriter) -> Result<(), Status> + Send + 'static,
    ) -> Result<(), Status> {
        let (mut writer, taken) = self.session()?.send_archive(number, told).await?;
        let writing = tokio::task::spawn_blocking(move || {
            write(&mut writer)?;
            writer.finish().map_err(failure::internal)
        });
        let (written, taken) = tokio::join!(writing, taken);
        // Why it takes no more, the client says itself; what broke off here, it only sees the end of.
        match (written.map_err(failure::internal)?, taken) {
            (Err(status), Err(answer)) if status.message.contains("takes no more") => Err(answer),
            (Err(status), _) => Err(status),
            (Ok(()), taken) => taken,
        }
    }
}

/// Files of several platforms in one folder must not be of the same name.
fn check_apart<'a>(results: impl Iterator<Item = (String, &'a (String, Arc<Rootfs>))>) -> Result<(), Status> {
    let mut known: HashMap<PathBuf, String> = HashMap::new();
    for (platform, (_, rootfs)) in results {
        let mut twice = None;
        let walked = rootfs.walk(&mut |entry| {
            if FileType::from_raw_mode(entry.stat.st_mode) != FileType::Directory
                && let Some(other) = known.insert(entry.path.clone(), platform.clone())
            {
                twice.get_or_insert((entry.path, other));
            }
            Ok(())
        });
        walked.map_err(failure::internal)?;
        if let Some((path, other)) = twice {
            let text = format!(
                "cannot overwrite {} from {other} with {platform} when split option is disabled",
                path.display()
            );
            return Err(Status::new(Code::Unknown, text));
        }
    }
    Ok(())
}

/// The files of results as a session sends them.
struct Folders {
    all: Vec<(String, Arc<Rootfs>)>,
    /// Which one, and where in it; none for the folder of a result itself.
    visited: Vec<Option<(usize, PathBuf)>>,
}

impl SentFiles for Folders {
    fn walk(&mut self, visit: &mut dyn FnMut(Stat) -> io::Result<()>) -> io::Result<()> {
        let visited = &mut self.visited;
        for (index, (folder, rootfs)) in self.all.iter().enumerate() {
            if !folder.is_empty() {
                visited.push(None);
                visit(Stat { path: folder.clone(), mode: go_mode(0o040_755), ..Stat::default() })?;
            }
            let mut linked = HashMap::new();
            rootfs.walk(&mut |entry| {
                visited.push(Some((index, entry.path.clone())));
                visit(stat(folder, &entry, &mut linked))
            })?;
        }
        Ok(())
    }

    fn open(&mut self, n: u32) -> io::Result<Box<dyn Read>> {
        let found = usize::try_from(n).ok().and_then(|n| self.visited.get(n)?.as_ref());
        let (index, path) = found.ok_or(io::ErrorKind::NotFound)?;
        let file = self.all.get(*index).ok_or(io::ErrorKind::NotFound)?.1.open(path)?;
        if file.metadata()?.is_file() { Ok(Box::new(file)) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

/// A file as the protocol has it. Of several names of a file the first one is it, the others are links to it.
fn stat(folder: &str, entry: &RootfsEntry, linked: &mut HashMap<(u64, u64), String>) -> Stat {
    let within = String::from_utf8_lossy(entry.path.as_os_str().as_bytes()).into_owned();
    let path = if folder.is_empty() { within } else { format!("{folder}/{within}") };
    let of = &entry.stat;
    let kind = FileType::from_raw_mode(of.st_mode);
    let mut linkname = String::from_utf8_lossy(&entry.target).into_owned();
    if kind == FileType::RegularFile && of.st_nlink > 1 {
        let first = linked.entry((of.st_dev, of.st_ino)).or_insert_with(|| path.clone());
        if *first != path {
            linkname.clone_from(first);
        }
    }
    let device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let number = |n: u32| if device { i64::from(n) } else { 0 };
    Stat {
        path,
        mode: go_mode(of.st_mode),
        uid: of.st_uid,
        gid: of.st_gid,
        size: if kind == FileType::RegularFile { of.st_size } else { 0 },
        mod_time: of
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::try_from(of.st_mtime_nsec).unwrap_or(0)),
        linkname,
        devmajor: number(rustix::fs::major(of.st_rdev)),
        devminor: number(rustix::fs::minor(of.st_rdev)),
        ..Stat::default()
    }
}
