//! `builder history export`, `import`: records as bundles (`.dockerbuild`), as `docker buildx history export` writes them.

use dray_client::Upload;
use dray_client::api::build::{BuildExport, BuildImport, BuildLocal, BuildSummary};

use super::local::Local;
use crate::app::App;
use crate::command::output_file;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, switch, text};
use crate::pack;
use crate::spec::{Args, Command, Done};

const EXPORT_FLAGS: &[Flag] = &[
    switch("all", NONE, "Export all builds that have ended"),
    switch("finalize", NONE, "Kept for scripts of buildx: a record is whole when its build has ended"),
    text("output", 'o', "File to write, instead of standard output"),
];

/// `builder history export`
pub static EXPORT: Command = Command::new(
    "export",
    &["[OPTIONS] [BUILD...]"],
    Args::Any,
    "Write records of builds as a bundle (.dockerbuild)",
    |a, p| Box::pin(export(a, p)),
)
.flags(&[EXPORT_FLAGS]);

/// `builder history import`
pub static IMPORT: Command = Command::new(
    "import",
    &["[OPTIONS]"],
    Args::No,
    "Take records of builds from a bundle; those that are there stay as they are",
    |a, p| Box::pin(import(a, p)),
)
.flags(&[&[list("file", 'f', "File to read, instead of standard input").shown("stringArray")]]);

async fn export(app: &App, p: Parsed) -> Done {
    let all = p.is("all");
    if all && !p.args.is_empty() {
        return Err(Error::Refused("cannot specify refs when using --all".into()));
    }
    let output = p.get("output");
    if output.is_empty() && crate::terminal::is_terminal(std::io::stdout()) {
        let text = "refusing to write to console, use --output to specify a file";
        return Err(Error::Refused(text.into()));
    }
    let out = output_file::Target::check(output, "failed to export builds")?;
    let client = app.client()?;
    // What buildx has kept of where builds were of is known on this side alone.
    let known = client.build_history(&[]).await?;
    let local = known.iter().filter_map(|build| Some((build.r#ref.clone(), local(app, build)?))).collect();
    let bundle = client.build_export(&BuildExport { builds: p.args.clone(), all, local }).await?;
    out.write(bundle).await?;
    Ok(0)
}

fn local(app: &App, build: &BuildSummary) -> Option<BuildLocal> {
    let target = build.attrs.get("target").filter(|target| !target.is_empty());
    let target = target.map_or("default", String::as_str);
    Local::of(build, app.config().borrow().dir()).for_bundle(target)
}

async fn import(app: &App, p: Parsed) -> Done {
    let files = p.all("file");
    let mut done = BuildImport::default();
    let mut take = |more: BuildImport| {
        done.imported.extend(more.imported);
        done.existing.extend(more.existing);
    };
    if files.is_empty() {
        if crate::terminal::is_terminal(std::io::stdin()) {
            let text = "nothing to import: use -f, or redirect standard input";
            return Err(Error::Refused(text.into()));
        }
        take(app.client()?.build_import(Upload::tar_chunks(pack::stdin())).await?);
    }
    for path in files {
        let bundle = match path.as_str() {
            "-" => Upload::tar_chunks(pack::stdin()),
            path => Upload::tar(tokio::fs::File::open(path).await.map_err(Error::file("open", path))?),
        };
        take(app.client()?.build_import(bundle).await?);
    }
    for id in &done.existing {
        app.warn(format!("{id}: is there already and stays as it is"));
    }
    app.print(done.imported.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    Ok(0)
}
