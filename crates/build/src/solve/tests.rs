//! Whole builds with a runner that needs no container: which step is carried out, what comes out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dray_image::{Image, Images, NewImage};
use dray_spec::{ImageConfig, Platform, RunConfig};
use dray_store::Store;

use super::*;
use crate::base::{BaseImage, BaseImageError, BaseImages};
use crate::classic::{ClassicText, Piece};
use crate::context::{ContextDir, Limits, unpack};
use crate::remote::{RemoteError, RemoteFile, RemoteSource};
use crate::request::DockerfileSource;
use crate::run::{ExitStatus, OutputStream, RunError, RunStep, StepMount, StepRunner};

/// Runs little commands, separated by `;`: `write PATH TEXT`, `echo TEXT`, `exit CODE`, `nothing`, `hang`, `env`,
/// `link PATH TARGET`.
#[derive(Default)]
struct Runner {
    ran: Mutex<Vec<String>>,
    seen: Mutex<Vec<(Vec<String>, Vec<StepMount>)>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl StepRunner for Runner {
    fn run(&self, step: &RunStep<'_>) -> Result<ExitStatus, RunError> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let result = self.commands(step);
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

impl Runner {
    fn commands(&self, step: &RunStep<'_>) -> Result<ExitStatus, RunError> {
        let script = step.argv.last().expect("a command").clone();
        self.ran.lock().expect("lock").push(script.clone());
        self.seen.lock().expect("lock").push((step.env.clone(), step.mounts.clone()));
        let status = |code| Ok(ExitStatus { code, oom_killed: false });
        for command in script.split(';').map(str::trim) {
            let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
            match word {
                "write" => {
                    let (path, text) = rest.split_once(' ').expect("path and text");
                    let path = step.upper.join(path.trim_start_matches('/'));
                    std::fs::create_dir_all(path.parent().expect("parent")).expect("dirs");
                    std::fs::write(path, text).expect("write");
                }
                "link" => {
                    let (path, target) = rest.split_once(' ').expect("path and target");
                    let path = step.upper.join(path.trim_start_matches('/'));
                    std::fs::create_dir_all(path.parent().expect("parent")).expect("dirs");
                    std::os::unix::fs::symlink(target, path).expect("link");
                }
                "echo" => step.output.write(OutputStream::Stdout, format!("{rest}\n").as_bytes()),
                "env" => step.output.write(OutputStream::Stdout, step.env.join(" ").as_bytes()),
                "exit" => return status(rest.parse().expect("code")),
                "sleep" => std::thread::sleep(Duration::from_millis(rest.parse().expect("time"))),
                "hang" => {
                    while !step.cancel.is_cancelled() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    return Err(RunError::Cancelled);
                }
                "missing" => return Err(RunError::Start("exec: no such program".into())),
                _ => {}
            }
        }
        status(0)
    }
}

/// Knows images by name.
struct Bases {
    images: Images,
}

impl BaseImages for Bases {
    fn resolve(
        &self,
        name: &str,
        _platform: &Platform,
        _force_pull: bool,
        progress: &dyn dray_image::Progress,
        _cancel: &Cancel,
    ) -> Result<BaseImage, BaseImageError> {
        progress.event(ProgressEvent::status(name, "Looking"));
        let image = self.images.resolve(name).map_err(|error| BaseImageError(Box::new(error)))?;
        Ok(BaseImage { id: image.id, config: image.config, layers: image.layers, digest: None })
    }
}

/// Serves one file, whose content can change.
struct Remote(Mutex<String>);

impl RemoteSource for Remote {
    fn open(&self, url: &str, _cancel: &Cancel) -> Result<RemoteFile, RemoteError> {
        if url.ends_with("404") {
            let (url, status, body) = (url.to_owned(), "404 Not Found".to_owned(), "no".to_owned());
            return Err(RemoteError::Status { url, status, body });
        }
        let content = self.0.lock().expect("lock").clone();
        let body = Box::new(std::io::Cursor::new(content.into_bytes()));
        Ok(RemoteFile { body, filename: None, modified: Some(1_000_000_000), size: None })
    }
}

/// A data root with a base image `base:latest` (/etc/passwd, /link → /data, /old).
struct World {
    images: Images,
    runner: Arc<Runner>,
    remote: Arc<Remote>,
    builder: Builder,
    /// Goes after the store, which may still be writing.
    dir: tempfile::TempDir,
}

/// A build's result.
struct Outcome {
    image: Result<Image, BuildError>,
    text: String,
    events: Vec<BuildEvent>,
    /// Commands that were run.
    ran: Vec<String>,
}

impl Outcome {
    fn image(&self) -> &Image {
        match &self.image {
            Ok(image) => image,
            Err(error) => panic!("{error}\n{}", self.text),
        }
    }

    fn error(&self) -> String {
        self.image.as_ref().expect_err("fails").to_string()
    }

    fn config(&self) -> RunConfig {
        self.image().config.config.clone().expect("config")
    }

    fn history(&self) -> Vec<String> {
        self.image().config.history.iter().map(|line| line.created_by.clone()).collect()
    }
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("temp dir");
        let images = Images::new(Store::open(dir.path()).expect("store"));
        let runner = Arc::new(Runner::default());
        let remote = Arc::new(Remote(Mutex::new("remote".to_owned())));
        let bases = Arc::new(Bases { images: images.clone() });
        let builder = Builder::new(images.clone(), runner.clone(), bases, remote.clone());
        let world = World { dir, images, runner, remote, builder };
        world.base("base", RunConfig { cmd: Some(vec!["sh".into()]), ..RunConfig::default() });
        world
    }

    fn base(&self, name: &str, config: RunConfig) {
        let draft = self.images.store().layers().begin().expect("draft");
        let at = |path: &str| draft.path().join(path);
        std::fs::create_dir_all(at("etc")).expect("dir");
        std::fs::create_dir_all(at("data")).expect("dir");
        std::fs::write(at("etc/passwd"), "root:x:0:0::/:/bin/sh\nnode:x:1000:1000::/:/bin/sh\n")
            .expect("file");
        std::fs::write(at("etc/group"), "root:x:0:\nnode:x:1000:\n").expect("file");
        std::fs::write(at("old"), name).expect("file");
        std::os::unix::fs::symlink("/data", at("link")).expect("link");
        let packed = dray_image::layer::DiffId::of(draft.path()).expect("digest");
        let layer = draft.commit(&packed.diff_id, packed.size).expect("layer");
        let mut image = ImageConfig::for_platform(&Platform::host());
        image.config = Some(config);
        image.rootfs.diff_ids = vec![packed.diff_id];
        let new = NewImage {
            config: image.to_bytes(),
            layers: vec![layer],
            names: vec![dray_spec::Reference::parse(name).expect("name")],
            ..NewImage::default()
        };
        self.images.create(new).expect("image");
    }

    fn context(&self, files: &[(&str, &str)]) -> ContextDir {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            header.set_mtime(std::time::SystemTime::now().elapsed().map_or(1, |t| t.as_secs()));
            tar.append_data(&mut header, name, content.as_bytes()).expect("entry");
        }
        let bytes = tar.into_inner().expect("tar");
        unpack(bytes.as_slice(), &self.builder.context_parent(), &Limits::default()).expect("context")
    }

    fn build(&self, dockerfile: &str, files: &[(&str, &str)]) -> Outcome {
        self.build_with(dockerfile, files, |_| {})
    }

    fn build_with(
        &self,
        dockerfile: &str,
        files: &[(&str, &str)],
        adjust: impl FnOnce(&mut BuildRequest),
    ) -> Outcome {
        let mut request = BuildRequest {
            context: Some(self.context(files)),
            dockerfile: DockerfileSource::Text { name: "Dockerfile".into(), text: dockerfile.into() },
            ..BuildRequest::default()
        };
        adjust(&mut request);
        let text = Mutex::new(String::new());
        let events = Mutex::new(Vec::new());
        let classic = ClassicText::new(true, |piece| {
            if let Piece::Text(piece) = piece {
                text.lock().expect("lock").push_str(&piece);
            }
        });
        let listener = |event: BuildEvent| {
            events.lock().expect("lock").push(event.clone());
            crate::BuildEvents::event(&classic, event);
        };
        self.runner.ran.lock().expect("lock").clear();
        self.runner.seen.lock().expect("lock").clear();
        let built = self.builder.build(request, &listener);
        let image = built.map(|built| self.images.get(&built.image).expect("read").expect("there"));
        drop(classic);
        Outcome {
            image,
            text: text.into_inner().expect("lock"),
            events: events.into_inner().expect("lock"),
            ran: std::mem::take(&mut *self.runner.ran.lock().expect("lock")),
        }
    }

    /// The content of a file of an image, as a container would see it.
    fn read(&self, image: &Image, path: &str) -> Option<String> {
        let tree = self.view(image);
        let resolved = tree.resolve(Path::new(path)).expect("resolved");
        tree.find(&resolved).expect("stat")?;
        Some(String::from_utf8_lossy(&tree.read(&resolved, 1 << 20).expect("file")).into_owned())
    }

    fn view(&self, image: &Image) -> crate::tree::Tree {
        let lower = self.images.store().layers().folders_of(image.layers.iter().rev());
        layers::view(&lower, self.images.store()).expect("view")
    }

    fn stat(&self, image: &Image, path: &str) -> rustix::fs::Stat {
        let tree = self.view(image);
        tree.stat(Path::new(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Drafts and contexts that stay on the disk: contexts go a moment after their build.
    fn left_over(&self) -> Vec<String> {
        for _ in 0..3000 {
            if self.on_disk().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.on_disk()
    }

    fn on_disk(&self) -> Vec<String> {
        let names = |dir: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(dir).map(|entries| entries.flatten().collect::<Vec<_>>());
            entries.unwrap_or_default().iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
        };
        let mut left = names(&self.builder.context_parent());
        left.extend(names(&self.dir.path().join("layers")).into_iter().filter(|n| n.starts_with("tmp")));
        left
    }
}

mod caching;
mod copying;
mod platforms;
mod running;
mod scanning;
mod stages;
mod upon;
