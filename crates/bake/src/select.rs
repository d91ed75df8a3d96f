//! From names on the command line to the targets that are built: groups opened, what is inherited and changed put in,
//! and what targets are built upon brought along.

use std::collections::{BTreeMap, BTreeSet};

use dray_spec::glob::Glob;

use crate::definition::Config;
use crate::entitlement::Allowed;
use crate::target::change::{self, Changes};
use crate::target::{Group, Output, Target};

/// How many targets may inherit from, or be built upon, each other in a chain.
const MAX_CHAIN: usize = 200;

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The groups that led to targets; `default` is all that was asked for.
    pub groups: BTreeMap<String, Group>,
    /// Targets by name.
    pub targets: BTreeMap<String, Target>,
}

struct Selection<'a> {
    config: &'a Config,
    changes: Changes,
    allowed: &'a mut Allowed,
}

/// Resolves names to targets.
pub(crate) fn select(
    config: &Config,
    names: &[String],
    changes: &[String],
    environment: &dyn Fn(&str) -> Option<String>,
    allowed: &mut Allowed,
) -> Result<Plan, String> {
    let mut wanted: Vec<String> = Vec::new();
    for name in names {
        for name in fitting(config, &name.replace('.', "_"))? {
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
    }
    let changes = change::read(changes, &config.targets, environment)?;
    let mut selection = Selection { config, changes, allowed };
    let mut plan = Plan::default();
    for name in &wanted {
        let (targets, groups) = opened(config, name);
        for target in targets {
            let resolved = selection.target(&target)?;
            plan.targets.insert(target, resolved);
        }
        for group in config.groups.iter().filter(|group| groups.contains(&group.name)) {
            plan.groups.entry(group.name.clone()).or_insert_with(|| group.clone());
        }
    }
    add_default(&mut plan, &wanted);
    let chosen: Vec<String> = plan.targets.keys().cloned().collect();
    for name in chosen {
        selection.link(&name, &mut plan.targets, &mut Vec::new())?;
    }
    Ok(plan)
}

/// What was asked for is the group `default`, too.
fn add_default(plan: &mut Plan, wanted: &[String]) {
    for name in wanted {
        if name == "default" && plan.groups.contains_key("default") {
            continue;
        }
        let fresh = || Group { name: "default".to_owned(), ..Group::default() };
        plan.groups.entry("default".to_owned()).or_insert_with(fresh).targets.push(name.clone());
    }
    if let Some(group) = plan.groups.get_mut("default") {
        group.targets.sort();
        group.targets.dedup();
    }
}

fn fitting(config: &Config, pattern: &str) -> Result<Vec<String>, String> {
    if !pattern.contains(['*', '?', '[', ']']) {
        return Ok(vec![pattern.to_owned()]);
    }
    let groups = config.groups.iter().map(|group| &group.name);
    let all = groups.chain(config.targets.iter().map(|target| &target.name));
    let glob = Glob::path(pattern).ok();
    let fits = |name: &&String| glob.as_ref().is_some_and(|glob| glob.matches(name));
    let names: Vec<String> = all.filter(fits).cloned().collect();
    if names.is_empty() { Err(format!("could not find any target matching {pattern:?}")) } else { Ok(names) }
}

/// The targets of a name, and the groups on the way to them; each group is opened once.
fn opened(config: &Config, name: &str) -> (Vec<String>, BTreeSet<String>) {
    let (mut targets, mut groups) = (Vec::new(), BTreeSet::new());
    let mut seen_targets = BTreeSet::new();
    let mut left = vec![name.to_owned()];
    while let Some(name) = left.pop() {
        match config.groups.iter().find(|group| group.name == name) {
            Some(group) if groups.insert(name.clone()) => left.extend(group.targets.iter().rev().cloned()),
            // A group that contains itself may mean a target of its name.
            Some(_) => {}
            None if seen_targets.insert(name.clone()) => targets.push(name),
            None => {}
        }
    }
    (targets, groups)
}

impl Selection<'_> {
    /// A target with what it inherits and what is changed.
    fn target(&mut self, name: &str) -> Result<Target, String> {
        let mut target = self.inherited(name, &mut BTreeMap::new(), 0)?.unwrap_or_default();
        target.inherits = None;
        target.context.get_or_insert_with(|| ".".to_owned());
        if target.dockerfile.as_ref().is_none_or(String::is_empty) {
            target.dockerfile = Some("Dockerfile".to_owned());
        }
        Ok(target)
    }

    /// None for one that is being resolved: a circle ends there.
    fn inherited(
        &mut self,
        name: &str,
        visited: &mut BTreeMap<String, Option<Target>>,
        depth: usize,
    ) -> Result<Option<Target>, String> {
        if let Some(known) = visited.get(name) {
            return Ok(known.clone());
        }
        if depth > MAX_CHAIN {
            return Err(format!("more than {MAX_CHAIN} targets inherit from each other in a chain"));
        }
        visited.insert(name.to_owned(), None);
        let own = self.config.targets.iter().find(|target| target.name == name);
        let own = own.ok_or_else(|| format!("failed to find target {name}"))?;
        let mut all = Target { name: own.name.clone(), ..Target::default() };
        for base in own.inherits.iter().flatten() {
            if let Some(base) = self.inherited(base, visited, depth + 1)? {
                all.merge(&base);
            }
        }
        all.merge(own);
        if let Some(changes) = self.changes.get(name) {
            all.change(changes, self.allowed)?;
        }
        all.normalise();
        visited.insert(name.to_owned(), Some(all.clone()));
        Ok(Some(all))
    }

    /// Brings along what a target is built upon.
    fn link(
        &mut self,
        name: &str,
        targets: &mut BTreeMap<String, Target>,
        visited: &mut Vec<String>,
    ) -> Result<(), String> {
        visited.push(name.to_owned());
        if visited.len() > MAX_CHAIN {
            return Err(format!("more than {MAX_CHAIN} targets are built upon each other in a chain"));
        }
        let bases: Vec<String> =
            targets.get(name).map(|t| t.bases().map(str::to_owned).collect()).unwrap_or_default();
        for base in bases {
            if base == name {
                return Err(format!("target {base} cannot link to itself"));
            }
            if visited.contains(&base) {
                return Err(format!("infinite loop from {name} to {base}"));
            }
            // What is there and not only linked has its own bases looked at, too; once is enough for the others.
            if !targets.contains_key(&base) {
                let mut other = self.target(&base)?;
                other.outputs = Some(vec![Output { kind: "cacheonly".to_owned(), ..Output::default() }]);
                other.linked = true;
                targets.insert(base.clone(), other);
            }
            self.link(&base, targets, visited)?;
            let other = targets[&base].clone();
            let Some(target) = targets.get_mut(name) else { continue };
            for entitlement in other.entitlements.iter().flatten() {
                if !target.entitlements.iter().flatten().any(|own| own == entitlement) {
                    target.entitlements.get_or_insert_default().push(entitlement.clone());
                }
            }
            check_platforms(name, target, &base, &other)?;
        }
        visited.pop();
        Ok(())
    }
}

fn check_platforms(name: &str, target: &Target, base: &str, other: &Target) -> Result<(), String> {
    let (Some(own), Some(theirs)) = (&target.platforms, &other.platforms) else { return Ok(()) };
    if own.len() > 1 && theirs.len() > 1 && !own.iter().all(|platform| theirs.contains(platform)) {
        let shown = |all: &[String]| format!("[{}]", all.join(" "));
        return Err(format!(
            "target {base} can't be used by {name} because its platforms {} are not a subset of {}",
            shown(own),
            shown(theirs)
        ));
    }
    Ok(())
}
