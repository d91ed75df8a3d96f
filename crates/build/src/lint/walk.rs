//! All stages one after the other, before or instead of a build.

use dray_spec::{ImageConfig, Platform};

use super::{Linter, StageView, Surroundings, rule};
use crate::error::BuildError;
use crate::plan::{Base, Plan, StagePlan};

/// Checks the stages of a plan that are `wanted`; images come from `config`. Gives what the stages came to.
///
/// # Errors
/// What ends the build that this would be, with its lines.
pub(crate) fn walk(
    linter: &Linter<'_>,
    plan: &Plan,
    around: Surroundings<'_>,
    wanted: impl Fn(&StagePlan) -> bool,
    config: impl Fn(&str, &Platform) -> Result<ImageConfig, BuildError>,
) -> Result<Vec<Option<StageView>>, BuildError> {
    let mut views: Vec<Option<StageView>> = Vec::new();
    for stage in &plan.stages {
        let at = |error: BuildError| error.at((stage.stage.line, stage.stage.last_line));
        if !wanted(stage) {
            views.push(None);
            continue;
        }
        let view = match &stage.base {
            // What a directory brings has no environment.
            Base::Scratch | Base::Context(_) => StageView::of_image(None),
            Base::Stage(index) => views.get(*index).cloned().flatten().unwrap_or_default(),
            Base::Image(name) => {
                let found = config(name, &stage.platform).map_err(at)?;
                linter.base_platform(stage, name, &found);
                StageView::of_image(Some(&found))
            }
        };
        let next = linter.stage(&stage.stage, view, around)?;
        views.push(Some(next));
    }
    Ok(views)
}

impl Linter<'_> {
    /// An image that is not for the stage's platform.
    pub(crate) fn base_platform(&self, stage: &StagePlan, name: &str, image: &ImageConfig) {
        let expected = &stage.platform;
        let actual = Platform::new(&image.os, &image.architecture, image.variant.as_deref());
        if expected.os != actual.os || expected.architecture != actual.architecture {
            self.found(&rule::INVALID_BASE_IMAGE_PLATFORM, &stage.stage, || {
                format!(
                    "Base image {name} was pulled with platform {:?}, expected {:?} for current build",
                    actual.to_string(),
                    expected.to_string()
                )
            });
        }
    }
}
