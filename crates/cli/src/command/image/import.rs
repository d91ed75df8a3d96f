//! `import`.

use dray_client::Upload;
use dray_client::image::ImportOptions;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, text};
use crate::pack;
use crate::progress;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    list("change", 'c', "Dockerfile instruction to apply to the image"),
    text("message", 'm', "Message of the image"),
    text("platform", NONE, "Platform of the image"),
];

/// `import`
pub static COMMAND: Command = Command::new(
    "import",
    &["[OPTIONS] file|URL|- [REPOSITORY[:TAG]]"],
    Args::AtLeast(1),
    "Make an image of a tar archive of files",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS])
.also(&["image import", "import"]);

async fn run(app: &App, p: Parsed) -> Done {
    let source = p.args[0].as_str();
    let is_url =
        ["http://", "https://", "git://", "git@", "github.com/"].iter().any(|s| source.starts_with(s));
    let (named, body) = if source == "-" {
        ("-", Upload::tar_chunks(pack::stdin()))
    } else if is_url {
        (source, Upload::Empty)
    } else {
        ("-", Upload::tar(tokio::fs::File::open(source).await.map_err(Error::file("open", source))?))
    };
    let options = ImportOptions {
        source: named.to_owned(),
        reference: p.args.get(1).cloned().unwrap_or_default(),
        message: p.get("message").to_owned(),
        platform: p.get("platform").to_owned(),
        changes: p.all("change"),
    };
    let messages = app.client()?.image_import(&options, body).await?;
    progress::show(app, messages, |_| ()).await?;
    Ok(0)
}
