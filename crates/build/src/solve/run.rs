//! `RUN`: prepares directories and mounts, has the step run, and keeps what it wrote. And `WORKDIR`, which makes
//! its directory without running anything.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dray_store::LayerDraft;

use super::agent::AgentSocket;
use super::layers::{self, Draft, failed};
use super::lock;
use super::stage::{Stage, began, now};
use super::stubs::Stubs;
use crate::agent::AgentError;
use crate::args::LineEnv;
use crate::cache::{Entry, KeyBuilder, Turn, Written};
use crate::capture::Operation;
use crate::config;
use crate::copy::{Destination, Placement, SourceTree, item_at, parse_chown, place, write_file};
use crate::dockerfile::{CommandLine, Mount, MountKind, RunCommand, Security};
use crate::dockerignore::Patterns;
use crate::error::{BuildError, CopyError, InstructionError};
use crate::event::{BuildEvent, BuildEvents};
use crate::expand::Expander;
use crate::inputs::{InputKind, StepInputs};
use crate::mounts::CacheDir;
use crate::run::{OutputStream, RunError, RunStep, StepMount, StepOutput};
use crate::secret::SecretError;
use crate::tree::{Owner, Tree};

/// Where a script from a heredoc is seen by the step.
const SCRIPTS: &str = "/dev/pipes";

/// The main context as a source.
pub(super) const CONTEXT: &str = "local://context";

/// What a `RUN` runs.
struct Program {
    argv: Vec<String>,
    /// A script to be mounted: name and content.
    script: Option<(String, String)>,
}

/// What a step has beside files and environment.
struct Beyond {
    network: String,
    privileged: bool,
    devices: Vec<String>,
}

/// Mounts of a step, and what has to stay while it runs.
#[derive(Default)]
struct Mounts {
    mounts: Vec<StepMount>,
    /// Variables that secrets are given as.
    env: Vec<String>,
    _caches: Vec<CacheDir>,
    // Before the directories that the sockets are in.
    _agents: Vec<AgentSocket>,
    _scratch: Vec<LayerDraft>,
}

/// The steps whose results are mounted, and what is mounted with the place of each among the step's inputs.
type Mounted = (Vec<usize>, Vec<(Mount, Option<usize>)>);

/// Where a step looks for its agent, unless it says otherwise.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

impl<'scope> Stage<'scope, '_, '_> {
    pub(super) fn run(&mut self, run: &RunCommand) -> Result<(), BuildError> {
        let program = program(&run.line, self)?;
        let env = self.args.seen_of(self.state.env());
        let args = self.args.beside(&env);
        let variables = |counted: bool| -> Vec<String> {
            let wanted = args.iter().filter(|(key, _)| !counted || self.args.counts(key));
            wanted.map(|(key, value)| format!("{key}={value}")).collect()
        };
        let counted = variables(true);
        let mut saved = match counted.len() {
            0 => Vec::new(),
            count => vec![format!("|{count}")],
        };
        let mut inputs = self.listened();
        if let Some(inputs) = &mut inputs {
            inputs.add(InputKind::Instruction, "", program.argv.join(" "));
            inputs.add_variables(InputKind::Argument, &counted);
            inputs.add_variables(InputKind::Variable, &env);
        }
        saved.extend(counted);
        saved.extend(program.argv.iter().cloned());
        let created_by = saved.join(" ");
        let mounts = self.parsed_mounts(run)?;
        for from in mounts.iter().filter_map(|mount| mount.from.as_deref()) {
            self.state.anew |= self.from(from)?.anew;
        }
        let network = self.network(run)?;
        self.check_privileges(run)?;
        let devices = self.devices(run)?;
        let run_config = self.state.run_config();
        let mut key = KeyBuilder::new("run")
            .field(self.state.files.bytes())
            .list(&saved)
            .list(&env)
            .field(&run_config.user)
            .field(&run_config.working_dir)
            .field(&network)
            .field(self.plan.platform.to_string());
        if run.security == Security::Insecure {
            key.add(b"insecure");
        }
        for device in &devices {
            key.add(b"device");
            key.add(device.as_bytes());
        }
        if let Some((_, content)) = &program.script {
            key.add(content.as_bytes());
        }
        for mount in &mounts {
            self.add_mount_key(mount, &mut key, inputs.as_mut())?;
        }
        let key = key.finish();
        let (read, mounted) = self.mounted(&mounts)?;
        let operation = Operation::Exec {
            args: program.argv.clone(),
            env: env.iter().cloned().chain(variables(true)).collect(),
            cwd: Some(run_config.working_dir.clone()).filter(|dir| !dir.is_empty()).unwrap_or("/".to_owned()),
            user: run_config.user.clone(),
            network: network.clone(),
            insecure: run.security == Security::Insecure,
            mounts: mounted,
        };
        if let Some(mut inputs) = inputs {
            inputs.add(InputKind::User, "", &run_config.user);
            inputs.add(InputKind::Directory, "", &run_config.working_dir);
            inputs.add(InputKind::Network, "", &network);
            if run.security == Security::Insecure {
                inputs.add(InputKind::Privilege, "", "security.insecure");
            }
            for device in &devices {
                inputs.add(InputKind::Privilege, device, "device");
            }
            if let Some((name, content)) = &program.script {
                inputs.add(InputKind::Script, name, content);
            }
            self.tell(inputs.named(&key, Some(&self.state.files)));
        }
        let entry = match self.build.turn(&key, self.state.anew)? {
            Turn::Known(entry) => {
                self.hit();
                entry
            }
            Turn::Yours(_guard) => {
                let mut step_env = env;
                step_env.extend(variables(false));
                let privileged = run.security == Security::Insecure;
                let beyond = Beyond { network, privileged, devices };
                let written = self.execute(&program, &mounts, step_env, beyond)?;
                let entry = Entry::of_files(now(), written);
                self.build.record(&key, &entry)?;
                entry
            }
        };
        let before = self.state.layers.len();
        self.files_done(key, entry, created_by)?;
        self.did(operation, read, before);
        Ok(())
    }

    /// What a step has mounted, among what the build has done; notes what it asks of the client.
    fn mounted(&self, mounts: &[Mount]) -> Result<Mounted, BuildError> {
        let (mut read, mut mounted) = Mounted::default();
        // What the step works on comes first, then what is mounted in the order of the targets, each once; secrets and
        // agents stand behind, as BuildKit has it.
        let base: Vec<usize> = self.state.done.into_iter().collect();
        let is_of_client = |mount: &Mount| matches!(mount.kind, MountKind::Secret | MountKind::Ssh);
        let mut ordered: Vec<&Mount> = mounts.iter().filter(|mount| !is_of_client(mount)).collect();
        ordered.sort_by_key(|mount| &mount.target);
        for mount in ordered.into_iter().chain(mounts.iter().filter(|mount| is_of_client(mount))) {
            let id = mount.id.as_deref().unwrap_or_default();
            match (mount.kind, &mount.from) {
                (MountKind::Secret, _) => lock(&self.build.capture).secret(id, !mount.required),
                (MountKind::Ssh, _) => lock(&self.build.capture).agent(id, !mount.required),
                _ => {}
            }
            let of = match (mount.kind, &mount.from) {
                (MountKind::Bind | MountKind::Cache, Some(from)) => self.from(from)?.done,
                (MountKind::Bind, None) => Some(self.brought_in(CONTEXT.to_owned())),
                _ => None,
            };
            let known = of.and_then(|of| base.iter().chain(&read).position(|input| *input == of));
            if known.is_none() {
                read.extend(of);
            }
            let last = base.len() + read.len();
            mounted.push((mount.clone(), of.and(known.or(last.checked_sub(1)))));
        }
        Ok((read, mounted))
    }

    /// The network of a step. A Dockerfile may come from anywhere: it takes no privileges that the request for the
    /// build does not give.
    fn network(&self, run: &RunCommand) -> Result<String, BuildError> {
        let given = &self.build.network_mode;
        match run.network.as_deref() {
            Some("host") if given != "host" && !self.build.entitlements.network_host => {
                Err(InstructionError::NotAllowed("network.host").into())
            }
            Some(mode) if mode != "default" => Ok(mode.to_owned()),
            _ => Ok(given.clone()),
        }
    }

    fn check_privileges(&self, run: &RunCommand) -> Result<(), BuildError> {
        if run.security == Security::Insecure && !self.build.entitlements.security_insecure {
            return Err(InstructionError::NotAllowed("security.insecure").into());
        }
        Ok(())
    }

    /// The devices of a step. One that is not known is an error if the step needs it, else as if it was not named.
    fn devices(&self, run: &RunCommand) -> Result<Vec<String>, BuildError> {
        let mut devices = Vec::new();
        for device in &run.devices {
            let found = self.build.builder.runner.devices(&device.name);
            if !self.build.entitlements.device && (device.required || !found.is_empty()) {
                return Err(InstructionError::NotAllowed("device").into());
            }
            if found.is_empty() && device.required {
                return Err(InstructionError::Device(device.name.clone()).into());
            }
            devices.extend(found);
        }
        Ok(devices)
    }

    fn parsed_mounts(&self, run: &RunCommand) -> Result<Vec<Mount>, BuildError> {
        let expander = Expander::new(self.build.plan.escape);
        let env = LineEnv::new(self.state.env(), &self.args);
        let expand = |text: &str| expander.word(text, &env);
        let mut mounts = Vec::new();
        let mut agents = 0;
        for text in &run.mounts {
            let mut mount = Mount::parse(text, &expand)?;
            match (mount.kind, self.build.secrets.source()) {
                (MountKind::Ssh, Some(_)) => {
                    name_agent(&mut mount, agents)?;
                    agents += 1;
                }
                (MountKind::Secret, Some(_)) => {
                    name_secret(&mut mount);
                    if mount.target.is_empty() {
                        // A variable and no file.
                        mounts.push(mount);
                        continue;
                    }
                }
                (MountKind::Secret | MountKind::Ssh, None) => {
                    return Err(InstructionError::MountKind(mount.kind.name()).into());
                }
                _ => {}
            }
            if mount.target.is_empty() || mount.target == "/" {
                return Err(InstructionError::MountTarget(mount.target).into());
            }
            if !mount.target.starts_with('/') {
                mount.target = format!("{}/{}", self.state.run_config().working_dir, mount.target);
            }
            mount.target = crate::glob::clean_path(&format!("/{}", mount.target));
            mounts.push(mount);
        }
        Ok(mounts)
    }

    /// What of a mount matters to the result: content that the step can read, but not what a cache holds.
    fn add_mount_key(
        &self,
        mount: &Mount,
        key: &mut KeyBuilder,
        mut inputs: Option<&mut StepInputs>,
    ) -> Result<(), BuildError> {
        if let Some(inputs) = &mut inputs {
            let what = [mount.id.as_deref(), mount.env.as_deref(), Some(&mount.source)];
            let what =
                what.into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ");
            let readonly = if mount.readonly { " readonly" } else { "" };
            inputs.add(InputKind::Mount, &mount.target, format!("{} {what}{readonly}", mount.kind.name()));
        }
        key.add(mount.kind.name().as_bytes());
        key.add(mount.target.as_bytes());
        key.add(&[u8::from(mount.readonly)]);
        match (mount.kind, &mount.from) {
            (MountKind::Cache, _) => {
                let id = mount.id.as_deref().unwrap_or(&mount.target);
                self.build.used.mount(id);
                key.add(id.as_bytes());
            }
            (MountKind::Bind, Some(from)) => {
                let files = self.from(from)?.files;
                if let Some(inputs) = inputs {
                    inputs.add(InputKind::From, from, files.to_string());
                }
                key.add(files.bytes());
                key.add(mount.source.as_bytes());
            }
            (MountKind::Secret, _) => {
                key.add(mount.id.as_deref().unwrap_or_default().as_bytes());
                key.add(mount.env.as_deref().unwrap_or_default().as_bytes());
            }
            (MountKind::Ssh, _) => key.add(mount.id.as_deref().unwrap_or_default().as_bytes()),
            (MountKind::Bind, None) => key.add(self.context_digest(&mount.source, inputs)?.bytes()),
            _ => {}
        }
        Ok(())
    }

    fn context_digest(
        &self,
        path: &str,
        mut inputs: Option<&mut StepInputs>,
    ) -> Result<crate::cache::Key, BuildError> {
        let wrap = |source| BuildError::Copy { instruction: "RUN", source };
        let source = self.context_tree().map_err(wrap)?;
        let selection = crate::copy::Selection {
            source: &source,
            exclude: &Patterns::default(),
            parents: false,
            cancel: &self.build.cancel,
        };
        let items =
            crate::copy::select(&selection, if path.is_empty() { "." } else { path }).map_err(wrap)?;
        let mut key = KeyBuilder::new("mount");
        for item in &items {
            let list = inputs.as_mut().map(|inputs| &mut inputs.files);
            let (digest, _) =
                crate::copy::item_digest(&source, item, true, list, &self.build.cancel).map_err(wrap)?;
            key.add(digest.bytes());
        }
        Ok(key.finish())
    }

    /// The context as a source.
    pub(super) fn context_tree(&self) -> Result<SourceTree<'scope>, CopyError> {
        let build = self.build;
        let context = build.context.as_ref().ok_or(CopyError::NoContext)?;
        let tree = Tree::open(context.path()).map_err(crate::copy::io_error("open", "."))?;
        Ok(SourceTree { tree, context: Some(context) })
    }

    fn execute(
        &mut self,
        program: &Program,
        mounts: &[Mount],
        mut env: Vec<String>,
        beyond: Beyond,
    ) -> Result<Option<Written>, BuildError> {
        let build = self.build;
        let began = began();
        let _pass = build.builder.gate.enter(&build.cancel)?;
        let store = build.builder.images.store();
        let lower = self.state.lower(build);
        let mut resolved = self.resolve_mounts(mounts)?;
        env.append(&mut resolved.env);
        if let Some((name, content)) = &program.script {
            let scratch = store.layers().begin()?;
            let dir = Tree::open(scratch.path()).and_then(|tree| tree.open_dir(Path::new(".")));
            dir.and_then(|dir| write_file(&dir, name, content.as_bytes(), 0o755))
                .map_err(failed("write", scratch.path()))?;
            let (source, target) = (scratch.path().to_owned(), SCRIPTS.to_owned());
            resolved.mounts.push(StepMount::Bind { source, target, readonly: true });
            resolved._scratch.push(scratch);
        }
        let draft = Draft::new(store)?;
        let working_dir = match self.state.run_config().working_dir.as_str() {
            "" => "/".to_owned(),
            dir => dir.to_owned(),
        };
        let stubs = self.prepare(&draft, &lower, &working_dir, mounts)?;
        let id = self.running(None);
        let output = Output::new(build.events, self.n);
        let step = RunStep {
            id: &id,
            layers: lower,
            upper: draft.upper(),
            work: draft.work(),
            argv: program.argv.clone(),
            env,
            cwd: working_dir,
            user: self.state.run_config().user.clone(),
            network: beyond.network,
            privileged: beyond.privileged,
            devices: beyond.devices,
            mounts: resolved.mounts.clone(),
            platform: &self.plan.platform,
            resources: &build.resources,
            output: &output,
            cancel: &build.cancel,
        };
        let status = build.builder.runner.run(&step);
        output.flush();
        let status = status.map_err(|error| match error {
            RunError::Cancelled => BuildError::Cancelled,
            other => BuildError::Run(other),
        })?;
        // What a killed process has written must not become a layer.
        build.check_cancelled()?;
        if status.code != 0 {
            let command = program.argv.join(" ");
            return Err(BuildError::Command { command, code: status.code, oom_killed: status.oom_killed });
        }
        let upper = draft.upper();
        Tree::open(&upper)
            .and_then(|layer| stubs.remove_from(&layer))
            .map_err(failed("clear mount points in", &upper))?;
        self.ran(id);
        draft.commit(build, Some(began))
    }

    /// Looks at what the step will see, and makes its working directory if the image lacks it.
    fn prepare(
        &self,
        draft: &Draft,
        lower: &[PathBuf],
        working_dir: &str,
        mounts: &[Mount],
    ) -> Result<Stubs, BuildError> {
        let store = self.build.builder.images.store();
        let view = layers::view(lower, store)?;
        let targets = mounts.iter().map(|mount| mount.target.clone());
        let targets: Vec<String> = targets.filter(|target| !target.is_empty()).collect();
        let stubs = Stubs::find(&view, &targets).map_err(failed("look for mount points in", "/"))?;
        let dir = view.resolve(Path::new(working_dir)).map_err(failed("resolve", working_dir))?;
        if !view.is_dir(&dir).map_err(failed("stat", working_dir))? {
            drop(view);
            let view = draft.view(lower)?;
            view.make_dirs(&dir, Owner::default()).map_err(failed("create", working_dir))?;
        }
        Ok(stubs)
    }

    /// Begins the directory of a cache mount with what `from` names, if there is none yet.
    fn seed_from(&self, mount: &Mount) -> Result<(), BuildError> {
        let build = self.build;
        let id = mount.id.as_deref().unwrap_or(&mount.target);
        let Some(from) = mount.from.as_deref().filter(|_| !build.builder.cache_dirs.has(id)) else {
            return Ok(());
        };
        let view = layers::view(&self.from(from)?.lower(build), build.builder.images.store())?;
        let path = existing(&view, &mount.source)?;
        let wrap = |source| BuildError::Copy { instruction: "RUN", source };
        let source = SourceTree { tree: view, context: None };
        build.builder.cache_dirs.seed(mount, |folder| {
            let tree = Tree::open(folder).map_err(failed("open", folder))?;
            let placement = Placement { owner: None, mode: None, only: None, cancel: &build.cancel };
            let item = item_at(&source, &path, &build.cancel).map_err(wrap)?;
            place(&Destination { tree: &tree, path: "/" }, &placement, &source, &item).map(drop).map_err(wrap)
        })?;
        Ok(())
    }

    fn resolve_mounts(&self, mounts: &[Mount]) -> Result<Mounts, BuildError> {
        let build = self.build;
        let store = build.builder.images.store();
        let mut resolved = Mounts::default();
        for mount in mounts {
            let target = mount.target.clone();
            let step_mount = match (mount.kind, &mount.from) {
                (MountKind::Secret, _) => {
                    self.resolve_secret(mount, &mut resolved)?;
                    continue;
                }
                (MountKind::Ssh, _) => {
                    self.resolve_agent(mount, &mut resolved)?;
                    continue;
                }
                (MountKind::Tmpfs, _) => StepMount::Tmpfs { target, size: mount.size },
                (MountKind::Cache, _) => {
                    build.seed(mount);
                    self.seed_from(mount)?;
                    let dir = build.builder.cache_dirs.take(mount, &build.cancel)?;
                    let source = dir.path.clone();
                    resolved._caches.push(dir);
                    StepMount::Bind { source, target, readonly: mount.readonly }
                }
                (_, from) => {
                    let (layers, subpath) = match from {
                        Some(from) => {
                            let lower = self.from(from)?.lower(build);
                            let subpath = existing(&layers::view(&lower, store)?, &mount.source)?;
                            (lower, subpath)
                        }
                        None => (vec![self.context_path()?], self.context_subpath(&mount.source)?),
                    };
                    let writable = match mount.readonly {
                        true => None,
                        false => {
                            let scratch = store.layers().begin()?;
                            let path = scratch.path().to_owned();
                            resolved._scratch.push(scratch);
                            Some(path)
                        }
                    };
                    match (&writable, from) {
                        (None, None) => {
                            let source = layers[0].join(subpath);
                            StepMount::Bind { source, target, readonly: true }
                        }
                        _ => StepMount::Layers { layers, subpath, target, writable },
                    }
                }
            };
            resolved.mounts.push(step_mount);
        }
        Ok(resolved)
    }

    /// A secret as a file, a variable, or both; nothing if there is none and it need not be.
    fn resolve_secret(&self, mount: &Mount, resolved: &mut Mounts) -> Result<(), BuildError> {
        let id = mount.id.clone().unwrap_or_default();
        let source = self.build.secrets.source();
        let found = source.map(|source| source.secret(&id)).transpose()?.flatten();
        let Some(content) = found else {
            return if mount.required { Err(SecretError::NotFound(id).into()) } else { Ok(()) };
        };
        if let Some(name) = &mount.env {
            match std::str::from_utf8(&content.0) {
                Ok(text) if !text.contains('\0') => resolved.env.push(format!("{name}={text}")),
                _ => return Err(SecretError::NotText(id).into()),
            }
        }
        if !mount.target.is_empty() {
            resolved.mounts.push(StepMount::Secret {
                content,
                target: mount.target.clone(),
                owner: (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0)),
                mode: mount.mode.unwrap_or(0o400),
            });
        }
        Ok(())
    }

    /// A socket that leads to the client's agent; nothing if there is none and it need not be.
    fn resolve_agent(&self, mount: &Mount, resolved: &mut Mounts) -> Result<(), BuildError> {
        let id = mount.id.clone().unwrap_or_default();
        let named = |variable: &String| variable.split('=').next() == Some(AGENT_VARIABLE);
        if !self.state.env().iter().chain(&resolved.env).any(named) {
            resolved.env.push(format!("{AGENT_VARIABLE}={}", mount.target));
        }
        let agents = self.build.agents.source();
        let checked = match agents {
            Some(source) => source.check(&id),
            None => Err(AgentError::NotForwarded(id.clone())),
        };
        let source = match (agents, checked) {
            (Some(source), Ok(())) => Arc::clone(source),
            (_, Err(error)) if mount.required => return Err(error.into()),
            _ => return Ok(()),
        };
        let scratch = self.build.builder.images.store().layers().begin()?;
        let owner = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let mode = mount.mode.unwrap_or(0o600);
        let socket = AgentSocket::open(scratch.path(), source, id.clone(), owner, mode)
            .map_err(|source| AgentError::Socket { id, source })?;
        resolved.mounts.push(StepMount::Bind {
            source: socket.path().to_owned(),
            target: mount.target.clone(),
            readonly: true,
        });
        resolved._agents.push(socket);
        resolved._scratch.push(scratch);
        Ok(())
    }

    fn context_path(&self) -> Result<PathBuf, BuildError> {
        let missing = BuildError::Copy { instruction: "RUN", source: CopyError::NoContext };
        self.build.context.as_ref().map(|context| context.path().to_owned()).ok_or(missing)
    }

    fn context_subpath(&self, path: &str) -> Result<String, BuildError> {
        let wrap = |source| BuildError::Copy { instruction: "RUN", source };
        existing(&self.context_tree().map_err(wrap)?.tree, path)
    }

    /// `WORKDIR`: the directory exists from now on.
    pub(super) fn workdir(&mut self, comment: &str) -> Result<(), BuildError> {
        let build = self.build;
        let path = self.state.run_config().working_dir.clone();
        let created_by = config::nop_file(self.state.run_config(), comment);
        let owner = self.workdir_owner()?;
        let mut key = KeyBuilder::new("workdir").field(self.state.files.bytes()).field(&path);
        if owner != Owner::default() {
            key = key.field(format!("{}:{}", owner.uid, owner.gid));
        }
        let key = key.finish();
        if let Some(mut inputs) = self.listened() {
            inputs.add(InputKind::Directory, "", &path);
            self.tell(inputs.named(&key, Some(&self.state.files)));
        }
        let entry = match build.turn(&key, self.state.anew)? {
            Turn::Known(entry) => {
                self.hit();
                entry
            }
            Turn::Yours(_guard) => {
                let container = self.running(None);
                let lower = self.state.lower(build);
                let written = self.make_workdir(&lower, &path, owner)?;
                let entry = Entry::of_files(now(), written);
                build.record(&key, &entry)?;
                self.ran(container);
                entry
            }
        };
        let before = self.state.layers.len();
        self.files_done(key, entry, created_by)?;
        self.did(Operation::Directory { path }, Vec::new(), before);
        Ok(())
    }

    /// Whose a directory is that `WORKDIR` makes: the user's. One that the image does not know is root.
    fn workdir_owner(&self) -> Result<Owner, BuildError> {
        let user = self.state.run_config().user.as_str();
        if user.is_empty() {
            return Ok(Owner::default());
        }
        let user = if user.starts_with(':') { format!("0{user}") } else { user.to_owned() };
        let Ok(spec) = parse_chown(&user) else { return Ok(Owner::default()) };
        let view = layers::view(&self.state.lower(self.build), self.build.builder.images.store())?;
        Ok(spec.resolve(&view).unwrap_or_default())
    }

    fn make_workdir(
        &self,
        lower: &[PathBuf],
        path: &str,
        owner: Owner,
    ) -> Result<Option<Written>, BuildError> {
        let began = began();
        let store = self.build.builder.images.store();
        let resolve = |tree: &Tree| tree.resolve(Path::new(path)).map_err(failed("resolve", path));
        let view = layers::view(lower, store)?;
        let dir = resolve(&view)?;
        if view.is_dir(&dir).map_err(failed("stat", path))? {
            return Ok(None);
        }
        drop(view);
        let draft = Draft::new(store)?;
        let view = draft.view(lower)?;
        view.make_dirs(&dir, owner).map_err(failed("create", path))?;
        drop(view);
        draft.commit(self.build, Some(began))
    }
}

/// Fills in what a secret mount leaves out: the id is the target's last part, the target is the id in
/// `/run/secrets`, unless the secret is a variable only.
fn name_secret(mount: &mut Mount) {
    let last = |path: &str| path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    let id = match (mount.source.as_str(), mount.id.take()) {
        ("", Some(id)) => id,
        ("", None) => last(&mount.target),
        (source, _) => source.to_owned(),
    };
    if mount.target.is_empty() && mount.env.is_none() {
        mount.target = format!("/run/secrets/{}", last(&id));
    }
    mount.id = Some(id);
}

/// Fills in what an agent's mount leaves out. `n` agents come before it.
fn name_agent(mount: &mut Mount, n: usize) -> Result<(), BuildError> {
    if !mount.source.is_empty() {
        return Err(InstructionError::SshSource.into());
    }
    mount.id.get_or_insert_with(|| "default".to_owned());
    if mount.target.is_empty() {
        mount.target = format!("/run/buildkit/ssh_agent.{n}");
    }
    Ok(())
}

/// A path inside a tree as one without links, so that a mount of it cannot lead outside.
fn existing(tree: &Tree, path: &str) -> Result<String, BuildError> {
    let resolved = tree.resolve(Path::new(path)).map_err(failed("resolve", path))?;
    if tree.find(&resolved).map_err(failed("stat", path))?.is_none() {
        let source = CopyError::NotFoundInImage(path.to_owned());
        return Err(BuildError::Copy { instruction: "RUN", source });
    }
    Ok(resolved.to_string_lossy().into_owned())
}

/// What to run. A heredoc is the script itself, given to the shell, or run as a file if it begins with `#!`; a
/// heredoc within a line is left to the shell.
fn program(line: &CommandLine, stage: &Stage<'_, '_, '_>) -> Result<Program, BuildError> {
    let run_config = stage.state.run_config();
    let Some(first) = line.heredocs.first() else {
        return Ok(Program { argv: config::resolved(line, run_config), script: None });
    };
    let ([words], true) = (line.words.as_slice(), line.shell) else {
        return Err(InstructionError::HeredocCommand(line.words.clone()).into());
    };
    let mut argv = config::shell(run_config);
    if !crate::dockerfile::is_heredoc(words) {
        let mut whole = words.clone();
        for heredoc in &line.heredocs {
            whole.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
        }
        argv.push(whole);
        return Ok(Program { argv, script: None });
    }
    if !first.content.starts_with("#!") {
        argv.push(first.text());
        return Ok(Program { argv, script: None });
    }
    let name = first.name.rsplit('/').next().unwrap_or("script").to_owned();
    argv.push(format!("{SCRIPTS}/{name}"));
    Ok(Program { argv, script: Some((name, first.text())) })
}

/// Passes the output of a step on as text. A character that is cut in two waits for its other half.
struct Output<'a> {
    events: &'a dyn BuildEvents,
    n: usize,
    halves: Mutex<[Vec<u8>; 2]>,
}

impl<'a> Output<'a> {
    fn new(events: &'a dyn BuildEvents, n: usize) -> Self {
        Output { events, n, halves: Mutex::default() }
    }

    fn send(&self, stream: OutputStream, bytes: &[u8]) {
        if !bytes.is_empty() {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.events.event(BuildEvent::Output { n: self.n, stream, text });
        }
    }

    fn flush(&self) {
        let halves = std::mem::take(&mut *lock(&self.halves));
        self.send(OutputStream::Stdout, &halves[0]);
        self.send(OutputStream::Stderr, &halves[1]);
    }
}

impl StepOutput for Output<'_> {
    fn write(&self, stream: OutputStream, bytes: &[u8]) {
        let mut halves = lock(&self.halves);
        let half = &mut halves[usize::from(stream == OutputStream::Stderr)];
        half.extend_from_slice(bytes);
        let whole = half.len() - incomplete_tail(half);
        let rest = half.split_off(whole);
        let text = std::mem::replace(half, rest);
        drop(halves);
        self.send(stream, &text);
    }
}

/// How many bytes at the end are the beginning of a character.
fn incomplete_tail(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        // Something else is wrong further left: look at the last few bytes alone.
        Err(_) => {
            let start = bytes.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(bytes.len());
            match std::str::from_utf8(&bytes[start..]) {
                Err(error) if error.error_len().is_none() => bytes.len() - start,
                _ => 0,
            }
        }
        Ok(_) => 0,
    }
}
