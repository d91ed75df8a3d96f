//! `pull`.

use dray_client::image::PullOptions;
use dray_spec::Reference;

use crate::app::App;
use crate::command_error::Error;
use crate::credential::auth_header;
use crate::flag::{Flag, NONE, Parsed, switch, text};
use crate::progress;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    switch("all-platforms", NONE, "Keep the images of all platforms and all else that the index names"),
    switch("all-tags", 'a', "Pull all tags of the repository"),
    switch("disable-content-trust", NONE, "Kept for old scripts").default("true").hidden(),
    text("platform", NONE, "Platform of the image, if there are several"),
    switch("quiet", 'q', "Show only the name of what was pulled"),
];

/// `pull`
pub static COMMAND: Command = Command::new(
    "pull",
    &["[OPTIONS] NAME[:TAG|@DIGEST]"],
    Args::Exactly(1),
    "Get an image from a registry",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["image pull", "pull"]);

/// Reads a name.
///
/// # Errors
/// It is none; the text is Docker's.
pub fn parse(name: &str) -> Result<Reference, Error> {
    Reference::parse(name).map_err(|e| Error::Refused(e.to_string()))
}

/// The credentials for an image's registry, as the header carries them. A helper that fails has none, as for Docker.
pub fn auth_for(app: &App, reference: &Reference) -> String {
    auth_header(&app.config().borrow().auth(reference.domain()).unwrap_or_default())
}

/// Repository and tag (or digest) as the API takes them.
pub fn name_and_tag(reference: &Reference) -> (String, String) {
    let tag = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.to_owned(),
        (None, None) => String::new(),
    };
    (reference.familiar_name(), tag)
}

async fn run(app: &App, p: Parsed) -> Done {
    let mut reference = parse(&p.args[0])?;
    let quiet = p.is("quiet");
    let has_tag = reference.tag().is_some() || reference.digest().is_some();
    if p.is("all-tags") {
        if has_tag {
            return Err(Error::Refused("tag can't be used with --all-tags/-a".into()));
        }
    } else if !has_tag {
        reference = reference.tagged();
        if !quiet {
            app.print(format!("Using default tag: {}\n", reference.tag().unwrap_or("latest")))?;
        }
    }
    let (name, tag) = name_and_tag(&reference);
    let platform = super::super::container::create::platform(&p);
    let what = PullOptions { platform, all_platforms: p.is("all-platforms") };
    let messages = app.client()?.image_pull(&name, &tag, &what, &auth_for(app, &reference)).await?;
    if quiet {
        progress::wait(messages, |_| ()).await?;
    } else {
        progress::show(app, messages, |_| ()).await?;
    }
    app.print(format!("{reference}\n"))?;
    Ok(0)
}

/// Pulls the image of a container that is to be made; progress goes to standard error.
///
/// # Errors
/// A credential helper fails, or the registry or the daemon refuses.
pub async fn pull_for_create(app: &App, image: &str, platform: &str, quiet: bool) -> Result<(), Error> {
    let reference = parse(image)?.tagged();
    let (name, tag) = name_and_tag(&reference);
    let auth = auth_header(&app.config().borrow().auth(reference.domain())?);
    let what = PullOptions { platform: platform.to_owned(), ..PullOptions::default() };
    let messages = app.client()?.image_pull(&name, &tag, &what, &auth).await?;
    if quiet {
        return progress::wait(messages, |_| ()).await;
    }
    progress::show_on_stderr(messages).await
}
