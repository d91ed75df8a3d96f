//! `tag`.

use super::pull::parse;
use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `tag`
pub static COMMAND: Command = Command::new(
    "tag",
    &["SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]"],
    Args::Exactly(2),
    "Give an image another name",
    |a, p| Box::pin(run(a, p)),
)
.also(&["image tag", "tag"]);

async fn run(app: &App, p: Parsed) -> Done {
    let prefixed = |name: &String| {
        parse(name).map_err(|e| {
            Error::Refused(format!(
                "Error parsing reference: {} is not a valid repository/tag: {e}",
                dray_spec::golang::quoted(name)
            ))
        })
    };
    let target = prefixed(&p.args[1])?;
    if target.digest().is_some() {
        return Err(Error::Refused("refusing to create a tag with a digest reference".into()));
    }
    prefixed(&p.args[0])?;
    let target = target.tagged();
    let tag = target.tag().unwrap_or("latest");
    app.client()?.image_tag(&p.args[0], &target.familiar_name(), tag).await?;
    Ok(0)
}
