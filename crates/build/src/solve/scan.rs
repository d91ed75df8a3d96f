//! What a build is made of beside its result: stages that the result only copies from, and the context, as far as the
//! Dockerfile asks for it (docs/attestations/sbom.md of BuildKit). A stage that is not carried out is never among them.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::thread::Scope;

use dray_scan::Inventory;

use super::{Build, State};
use crate::args::{BuildArgs, SCAN_CONTEXT, SCAN_STAGE};
use crate::error::BuildError;
use crate::plan::StagePlan;

/// The name of the context among the stages. One of them may have it, too, and then goes before it.
const CONTEXT: &str = "context";

/// Looks through all that is asked for. The caller keeps the layers of the build; `target` is its end.
pub(super) fn all<'scope>(
    build: &'scope Build<'_>,
    target: &State,
    scope: &'scope Scope<'scope, '_>,
) -> Result<BTreeMap<String, Inventory>, BuildError> {
    let mut scanned = BTreeMap::new();
    let of_target = &build.plan.stages[build.plan.target];
    let wants_context = is_on(target.args.as_deref(), SCAN_CONTEXT, of_target);
    if let Some(context) = build.context.as_ref().filter(|_| wants_context) {
        scanned.insert(CONTEXT.to_owned(), folder(context.path())?);
    }
    for plan in build.plan.stages.iter().filter(|plan| plan.needed && plan.index != build.plan.target) {
        let state = build.stage(plan.index, scope)?;
        if is_on(state.args.as_deref(), SCAN_STAGE, plan) {
            build.check_cancelled()?;
            let name = name(plan);
            let inventory = files(build, &state, &name)?;
            scanned.insert(name, inventory);
        }
    }
    Ok(scanned)
}

fn is_on(args: Option<&BuildArgs>, key: &str, plan: &StagePlan) -> bool {
    args.is_some_and(|args| args.is_on_for(key, &name(plan)))
}

/// A stage's name, as BuildKit has it for one that has none.
fn name(plan: &StagePlan) -> String {
    plan.stage.name.clone().unwrap_or_else(|| format!("stage-{}", plan.index))
}

fn files(build: &Build<'_>, state: &State, name: &str) -> Result<Inventory, BuildError> {
    let of = format!("stage {name}");
    let rootfs = build.builder.images.rootfs_of(&state.layers, &of)?;
    dray_scan::scan(rootfs.as_fd()).map_err(|source| BuildError::Scan { of, source })
}

fn folder(path: &std::path::Path) -> Result<Inventory, BuildError> {
    let opened = std::fs::File::open(path).map_err(super::layers::failed("open", path))?;
    let of = "the build context".to_owned();
    dray_scan::scan(opened.as_fd()).map_err(|source| BuildError::Scan { of, source })
}
