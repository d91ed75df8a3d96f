//! `compose watch`: changed files are copied into containers, or have services restarted or built anew, as `develop`
//! says.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use dray_client::Upload;
use dray_client::api::container::{ExecCreateRequest, ExecStartRequest};
use dray_compose::Project;
use dray_compose::apply::{Engine, Include, Start};
use dray_compose::model::Along;
use dray_compose::model::service::{Hook, Service, Trigger};
use dray_compose::plan::container::environment;
use dray_spec::dockerignore::Patterns;

use super::display::Display;
use super::image::{self, Policy};
use super::notice::Notice;
use super::output::Output;
use super::project::{self, How};
use super::{delegate, engine, say, socket, up};
use crate::app::App;
use crate::command::container as single;
use crate::command_error::Error;
use crate::flag::{NONE, Parsed, switch};
use crate::pack::Packer;
use crate::spec::{Args, Command, Done};

/// `compose watch`
pub static COMMAND: Command = Command::new(
    "watch",
    &["[SERVICE...]"],
    Args::Any,
    "Watch build context for service and rebuild/refresh containers when files are updated",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[&[
    switch("no-up", NONE, "Do not build and start the services first"),
    switch("prune", NONE, "Kept for old scripts").default("true"),
    switch("quiet", NONE, "Build without words"),
]]);

async fn run(app: &App, p: Parsed) -> Done {
    let mut project = project::load(app, &p.args, How::default())?;
    socket::give(app, &mut project)?;
    let watch = Watch::new(app, &project, &p.args)?;
    if !p.is("no-up") {
        let display = Display::new(app, "Running")?;
        let engine = engine(app, &display)?;
        up::converge(app, &project, &Parsed::default(), &engine).await?;
        engine.start(&project, Start::default()).await?;
    }
    tokio::select! {
        done = watch.run() => done.map(|()| 0),
        _ = tokio::signal::ctrl_c() => Ok(crate::interrupts::INTERRUPTED),
    }
}

/// A trigger of a service, ready to be asked.
struct Rule<'a> {
    service: &'a str,
    trigger: &'a Trigger,
    ignore: Patterns,
    include: Option<Patterns>,
    context: Option<(PathBuf, Patterns)>,
}

/// What is watched for a project.
pub struct Watch<'a> {
    app: &'a App,
    project: &'a Project,
    rules: Vec<Rule<'a>>,
    notice: Notice,
    /// Where other lines are shown meanwhile.
    output: Option<&'a Output>,
}

fn patterns(lines: Vec<String>) -> Result<Patterns, Error> {
    Patterns::new(lines).map_err(|e| Error::Refused(e.to_string()))
}

impl<'a> Rule<'a> {
    fn new(service: &'a str, of: &Service, trigger: &'a Trigger) -> Result<Rule<'a>, Error> {
        let mut ignore = trigger.ignore.clone();
        ignore.extend([".git".to_owned(), "**/.git".to_owned()]);
        let include =
            if trigger.include.is_empty() { None } else { Some(patterns(trigger.include.clone())?) };
        let context = match &of.build {
            Some(build) if Path::new(&build.context).is_dir() => {
                let file = Path::new(&build.context).join(".dockerignore");
                let text = std::fs::read_to_string(file).unwrap_or_default();
                let ignored = Patterns::parse(&text).map_err(|e| Error::Refused(e.to_string()))?;
                Some((PathBuf::from(&build.context), ignored))
            }
            _ => None,
        };
        Ok(Rule { service, trigger, ignore: patterns(ignore)?, include, context })
    }

    /// The changed path below the trigger's, if the rule is about it.
    fn relative(&self, path: &Path, notice: &Notice) -> Option<PathBuf> {
        let root = Path::new(&self.trigger.path);
        if !notice.covers(path, root) {
            return None;
        }
        let below = path.strip_prefix(root).ok()?;
        let text = below.to_string_lossy();
        if self.ignore.ignores(&text) || self.include.as_ref().is_some_and(|i| !i.ignores(&text)) {
            return None;
        }
        if let Some((context, ignored)) = &self.context
            && let Ok(inside) = path.strip_prefix(context)
            && ignored.ignores(&inside.to_string_lossy())
        {
            return None;
        }
        Some(below.to_owned())
    }

    fn syncs(&self) -> bool {
        self.trigger.action.starts_with("sync")
    }
}

impl<'a> Watch<'a> {
    /// Watches what the named services (all, if none is named) ask for.
    ///
    /// # Errors
    /// Nothing is to be watched, or a path does not exist.
    pub fn new(app: &'a App, project: &'a Project, services: &[String]) -> Result<Watch<'a>, Error> {
        let mut rules = Vec::new();
        for (name, service) in &project.services {
            if !services.is_empty() && !services.contains(name) {
                continue;
            }
            for trigger in service.develop.iter().flat_map(|d| &d.watch) {
                if trigger.action == "rebuild" && service.build.is_none() {
                    let text =
                        format!("can't watch service {name:?} with action rebuild without a build context");
                    return Err(Error::Refused(text));
                }
                let mounted = |v: &dray_compose::model::service::Mount| {
                    v.kind == "bind" && Path::new(&trigger.path).starts_with(&v.source)
                };
                if trigger.action.starts_with("sync") && service.volumes.iter().any(mounted) {
                    say::warn(&format!(
                        "path '{}' also declared by a bind mount volume, this path won't be monitored!",
                        trigger.path
                    ));
                    continue;
                }
                rules.push(Rule::new(name, service, trigger)?);
            }
        }
        if rules.is_empty() {
            let text =
                "none of the selected services is configured for watch, consider setting a 'develop' section";
            return Err(Error::Refused(text.into()));
        }
        let paths: Vec<PathBuf> = rules.iter().map(|r| PathBuf::from(&r.trigger.path)).collect();
        let notice = Notice::of(&paths)?;
        Ok(Watch { app, project, rules, notice, output: None })
    }

    /// The same for one who looks at containers' output.
    pub fn beside(mut self, output: &'a Output) -> Self {
        self.output = Some(output);
        self
    }

    /// Goes on until something fails that cannot be told and passed over.
    ///
    /// # Errors
    /// Watching fails.
    pub async fn run(mut self) -> Result<(), Error> {
        self.initial().await?;
        self.say("Watch enabled");
        loop {
            let changed = self.notice.next().await?;
            if let Err(e) = self.batch(&changed).await {
                self.say(&format!("Error handling changed files: {e}"));
            }
        }
    }

    fn say(&self, text: &str) {
        match self.output {
            Some(output) => output.say(&format!("⦿ {text}")),
            // Nothing is left to tell that standard output is gone.
            None => _ = self.app.print(format!("⦿ {text}\n")),
        }
    }

    /// Copies what `initial_sync` wants in the containers from the start.
    async fn initial(&self) -> Result<(), Error> {
        for rule in self.rules.iter().filter(|r| r.syncs() && r.trigger.initial_sync) {
            let mut all = BTreeSet::new();
            collect(Path::new(&rule.trigger.path), &mut all);
            let files =
                all.iter().filter_map(|p| Some((p.clone(), rule.relative(p, &self.notice)?))).collect();
            self.sync(rule, files).await?;
        }
        Ok(())
    }

    async fn batch(&self, changed: &BTreeSet<PathBuf>) -> Result<(), Error> {
        let (mut rebuild, mut restart) = (BTreeSet::new(), BTreeSet::new());
        let mut syncs: Vec<(&Rule<'_>, Vec<(PathBuf, PathBuf)>)> = Vec::new();
        for rule in &self.rules {
            let files: Vec<(PathBuf, PathBuf)> =
                changed.iter().filter_map(|p| Some((p.clone(), rule.relative(p, &self.notice)?))).collect();
            if files.is_empty() {
                continue;
            }
            match rule.trigger.action.as_str() {
                "rebuild" => _ = rebuild.insert(rule.service.to_owned()),
                "restart" => _ = restart.insert(rule.service.to_owned()),
                action => {
                    if action == "sync+restart" {
                        restart.insert(rule.service.to_owned());
                    }
                    syncs.push((rule, files));
                }
            }
        }
        if !rebuild.is_empty() {
            self.rebuild(&rebuild).await?;
        }
        for (rule, files) in syncs {
            if rebuild.contains(rule.service) {
                continue;
            }
            self.say(&format!(
                "Syncing service {:?} after {} changes were detected",
                rule.service,
                files.len()
            ));
            self.sync(rule, files).await?;
            if rule.trigger.action == "sync+exec" {
                self.exec(rule.service, &rule.trigger.exec).await?;
            }
        }
        for name in restart.iter().filter(|n| !rebuild.contains(*n)) {
            for id in self.running(name).await? {
                self.app.client()?.container_restart(&id, "", None).await?;
            }
            self.say(&format!("service(s) [{name:?}] restarted"));
        }
        Ok(())
    }

    async fn running(&self, service: &str) -> Result<Vec<String>, Error> {
        let quiet = Display::quiet();
        let engine: Engine<'_> = engine(self.app, &quiet)?;
        let services = [service.to_owned()];
        let seen = engine.containers(&self.project.name, Include::Services, false, &services).await?;
        Ok(seen.into_iter().map(|c| c.summary.id).collect())
    }

    /// Copies files that are there, and removes those that are not.
    async fn sync(&self, rule: &Rule<'_>, files: Vec<(PathBuf, PathBuf)>) -> Result<(), Error> {
        let target = Path::new(&rule.trigger.target);
        let packed = Error::io("pack changed files");
        let mut tar = Vec::new();
        let mut packer = Packer::new(&mut tar);
        let (mut any, mut gone) = (false, Vec::new());
        let mut copy = || -> std::io::Result<()> {
            for (host, below) in &files {
                let inside =
                    if below.as_os_str().is_empty() { target.to_owned() } else { target.join(below) };
                match host.symlink_metadata() {
                    Ok(meta) => {
                        let name = inside.strip_prefix("/").unwrap_or(&inside);
                        packer.entry(host, name, &meta)?;
                        any = true;
                    }
                    Err(_) => gone.push(inside.display().to_string()),
                }
            }
            Ok(())
        };
        copy().and_then(|()| packer.finish()).map_err(packed)?;
        let client = self.app.client()?;
        for id in self.running(rule.service).await? {
            if any {
                client.container_copy_to(&id, "/", true, Upload::tar(Cursor::new(tar.clone()))).await?;
            }
            if !gone.is_empty() {
                let words =
                    ["rm".to_owned(), "-rf".to_owned()].into_iter().chain(gone.clone()).collect::<Vec<_>>();
                let request = ExecCreateRequest {
                    cmd: Some(words.into()),
                    detach: true,
                    ..ExecCreateRequest::default()
                };
                let exec = client.exec_create(&id, &request).await?;
                client
                    .exec_start(&exec.id, &ExecStartRequest { detach: true, ..ExecStartRequest::default() })
                    .await?;
            }
        }
        Ok(())
    }

    async fn exec(&self, service: &str, hook: &Hook) -> Result<(), Error> {
        for id in self.running(service).await? {
            let mut words: Vec<String> = Vec::new();
            for (flag, value) in [("--user", &hook.user), ("--workdir", &hook.working_dir)] {
                if !value.is_empty() {
                    words.extend([flag.to_owned(), value.clone()]);
                }
            }
            if hook.privileged {
                words.push("--privileged".into());
            }
            words.extend(environment(&hook.environment).into_iter().flat_map(|v| ["--env".to_owned(), v]));
            words.push(id);
            words.extend(hook.command.0.clone().unwrap_or_default());
            match delegate(self.app, &single::exec::COMMAND, words).await? {
                0 => {}
                code => self.say(&format!("command in service {service:?} exited with status {code}")),
            }
        }
        Ok(())
    }

    async fn rebuild(&self, names: &BTreeSet<String>) -> Result<(), Error> {
        let list: Vec<&String> = names.iter().collect();
        self.say(&format!("Rebuilding service(s) {list:?} after changes were detected..."));
        // What is built is shown where the keys are.
        self.output.inspect(|output| output.hide_menu());
        let mut only = self.project.clone();
        let names: Vec<String> = names.iter().cloned().collect();
        only.select(&names, Along::None)?;
        image::ensure(self.app, &only, Policy { build: true, ..Policy::default() }).await?;
        let display = Display::new(self.app, "Running")?;
        let engine = engine(self.app, &display)?;
        up::converge(self.app, &only, &Parsed::default(), &engine).await?;
        engine.start(&only, Start::default()).await?;
        display.finish();
        self.say(&format!("service(s) {names:?} successfully built"));
        Ok(())
    }
}

fn collect(path: &Path, into: &mut BTreeSet<PathBuf>) {
    if !path.is_dir() {
        into.insert(path.to_owned());
        return;
    }
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        // A link is copied as one; what it leads to may hold itself.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), into);
        } else {
            into.insert(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_folders_are_not_walked() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("in")).unwrap();
        std::fs::write(root.join("in/file"), "").unwrap();
        std::os::unix::fs::symlink(".", root.join("in/round")).unwrap();
        std::os::unix::fs::symlink("in", root.join("link")).unwrap();
        let mut found = BTreeSet::new();
        collect(&root.join("link"), &mut found);
        let names = ["file", "round"].map(|name| root.join("link").join(name));
        assert_eq!(found, BTreeSet::from(names));
    }
}
