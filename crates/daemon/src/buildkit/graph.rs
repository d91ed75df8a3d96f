//! Graphs that stand for files: of a repository or behind an address, or a part of them. `docker buildx bake` of an
//! address reads bake files so, and builds of what is beside them.
//!
//! ```text
//! LLBBridge.Solve(definition) ─► Files ─► a folder ─► the reference of a result
//! LLBBridge.StatFile, ReadFile(reference)  ─► what is in it
//! LLBBridge.Solve(frontend, inputs)        ─► the folder is the context, or one by name
//! ```

use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use dray_build::{Cancel, ContextDir, DockerfileSource, Material, Repository, Secrets};
use dray_buildkit::go_mode;
use dray_buildkit::grpc::Status;
use dray_buildkit::proto::Definition;
use dray_buildkit::proto::gateway::{
    FileRange, ReadFileRequest, ReadFileResponse, StatFileRequest, StatFileResponse,
};
use dray_buildkit::proto::llb::Files;
use dray_buildkit::proto::session::Stat;
use dray_engine::build::{Input, Service};
use dray_spec::Digest;

use super::attrs::Frontend;
use super::failure::{self, Source};
use super::history::without_userinfo;
use super::job::Job;
use super::solve::{Loaded, read_definition};
use super::{BuildKit, Caller};

/// The input that is the context, and that with the Dockerfile.
pub(super) const CONTEXT: &str = "context";
const DOCKERFILE: &str = "dockerfile";

/// The files that a graph stands for.
pub(super) fn files(definition: &Definition) -> Result<Files, Status> {
    let files = definition.files(|bytes| Digest::sha256_of(bytes).to_string());
    files.ok_or_else(failure::definitions)
}

impl BuildKit {
    /// Fetches the files of a graph; tells what was fetched for them.
    pub(super) async fn fetch_files(
        &self,
        job: &Arc<Job>,
        files: Files,
    ) -> Result<(ContextDir, Vec<Material>), Status> {
        let vertex = job.progress.vertex(&title(&files));
        vertex.begin();
        let work = self.evaluation(job).await?;
        let fetched = tokio::task::spawn_blocking(move || {
            let mut materials = Vec::new();
            let folder = work.folder(&files, &mut materials)?;
            Ok::<_, Status>((folder, materials))
        });
        let fetched = fetched.await.map_err(failure::internal).and_then(|fetched| fetched);
        vertex.end(fetched.as_ref().err().map(|status| status.message.clone()));
        fetched
    }

    async fn evaluation(&self, job: &Arc<Job>) -> Result<Evaluation, Status> {
        let session = self.sessions.find(&job.session).await?;
        let recording = job.recorded.as_ref().map(|recorded| Arc::clone(recorded.recording()));
        let secrets = Caller::recorded(session, recording).wishes().secrets;
        Ok(Evaluation { builds: Arc::clone(&self.builds), secrets, cancel: job.cancel.clone() })
    }

    /// A context that is a graph, with the Dockerfile in it, in another one or at the client.
    pub(super) async fn graphed(
        &self,
        job: &Arc<Job>,
        wanted: &Frontend,
        context: &Definition,
    ) -> Result<(Loaded, Input), Status> {
        let (folder, materials) = self.fetch_files(job, files(context)?).await?;
        let mut input = Input { context: Some(folder.clone()), materials, ..Input::default() };
        let definition = match wanted.inputs.get(DOCKERFILE) {
            Some(other) if !wanted.own_dockerfile => {
                let place =
                    if other == context { folder } else { self.fetch_files(job, files(other)?).await?.0 };
                let (name, text) = read_definition(&place, &wanted.filename)?;
                let vertex = job.progress.vertex(&format!("[internal] load build definition from {name}"));
                let source = Source { name, text };
                let dockerfile = source.parsed()?;
                Loaded { dockerfile, text: source.text, ignore: None, vertex }
            }
            _ => self.definition(job, wanted).await?,
        };
        let (name, text) = (definition.dockerfile.name.clone(), definition.text.clone());
        input.dockerfile = DockerfileSource::Text { name, text };
        Ok((definition, input))
    }

    /// `StatFile` of a result that is a folder.
    pub(super) fn stat_file(job: &Job, request: &StatFileRequest) -> Result<StatFileResponse, Status> {
        let folder = folder(job, &request.reference)?;
        let found = folder.metadata(&request.path).map_err(|error| failure::not_found(error.to_string()))?;
        let metadata = found.ok_or_else(|| missing("lstat", &request.path))?;
        let name = request.path.rsplit('/').next().unwrap_or_default();
        let stat = Stat {
            path: name.to_owned(),
            mode: go_mode(metadata.mode()),
            uid: metadata.uid(),
            gid: metadata.gid(),
            size: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
            mod_time: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            ..Stat::default()
        };
        Ok(StatFileResponse { stat: Some(stat) })
    }

    /// `ReadFile` of a result that is a folder.
    pub(super) fn read_file(job: &Job, request: &ReadFileRequest) -> Result<ReadFileResponse, Status> {
        let folder = folder(job, &request.reference)?;
        let found = folder.read(&request.path).map_err(|error| failure::not_found(error.to_string()))?;
        let data = found.ok_or_else(|| missing("open", &request.path))?;
        Ok(ReadFileResponse { data: request.range.map_or(data.clone(), |range| part(&data, range)) })
    }
}

fn folder(job: &Job, reference: &str) -> Result<ContextDir, Status> {
    let unread = || failure::unsupported(format!("reading files of the result {reference:?} is"));
    job.folder(reference).ok_or_else(unread)
}

fn missing(operation: &str, path: &str) -> Status {
    failure::not_found(format!("{operation} {path}: no such file or directory"))
}

fn part(data: &[u8], range: FileRange) -> Vec<u8> {
    let rest = &data[usize::try_from(range.offset).unwrap_or(0).min(data.len())..];
    let length = usize::try_from(range.length).ok().filter(|length| *length > 0).unwrap_or(rest.len());
    rest[..length.min(rest.len())].to_vec()
}

/// In BuildKit's words.
fn title(files: &Files) -> String {
    match files {
        Files::Git { address, .. } => format!("[internal] load git source {}", without_userinfo(address)),
        Files::Http { .. } => "[internal] load remote build context".to_owned(),
        Files::Part { of, .. } => title(of),
    }
}

/// What fetches files.
struct Evaluation {
    builds: Arc<Service>,
    secrets: Secrets,
    cancel: Cancel,
}

impl Evaluation {
    fn folder(&self, files: &Files, materials: &mut Vec<Material>) -> Result<ContextDir, Status> {
        let (folder, material) = match files {
            Files::Git { address, keep_git_dir, checksum, skip_submodules } => {
                let wanted = Repository {
                    address: address.clone(),
                    keep_git_dir: *keep_git_dir,
                    checksum: checksum.clone(),
                    skip_submodules: *skip_submodules,
                };
                self.builds.clone_repository(&wanted, &self.secrets, &self.cancel).map_err(failure::engine)?
            }
            Files::Http { url, name, checksum } => {
                let checksum = checksum.as_deref();
                self.builds.fetch_file(url, name, checksum, &self.cancel).map_err(failure::engine)?
            }
            Files::Part { of, path, contents, unpack } => {
                let whole = self.folder(of, materials)?;
                return self.part(&whole, path, *contents, *unpack);
            }
        };
        materials.push(material);
        Ok(folder)
    }

    fn part(
        &self,
        whole: &ContextDir,
        path: &str,
        contents: bool,
        unpack: bool,
    ) -> Result<ContextDir, Status> {
        if unpack && let Some(unpacked) = self.builds.unpack_part(whole, path).map_err(failure::engine)? {
            return Ok(unpacked);
        }
        let found = whole.metadata(path).map_err(|error| failure::not_found(error.to_string()))?;
        let is_folder = found.ok_or_else(|| missing("lstat", path))?.is_dir();
        self.builds.part(whole, path, !(contents && is_folder)).map_err(failure::engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_is_there_of_it() {
        let range = |offset, length| part(b"abcdef", FileRange { offset, length });
        assert_eq!(range(0, 0), b"abcdef");
        assert_eq!(range(1, 2), b"bc");
        assert_eq!(range(4, 1024), b"ef");
        assert_eq!(range(9, 1), b"");
        assert_eq!(range(-1, -1), b"abcdef");
    }
}
