//! `volume backup` and `volume restore`: archives that keep every piece of data once, in files or registries. Dray's own.

use std::fs::File;
use std::path::Path;

use dray_backup::Archive;
use dray_client::Upload;

use crate::app::App;
use crate::command::image::pull::{auth_for, parse};
use crate::command::output_file;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, switch, text};
use crate::format::units::human_size;
use crate::opts::env::check_label;
use crate::opts::pairs;
use crate::pack;
use crate::spec::{Args, Command, Done};

const BACKUP_FLAGS: &[Flag] = &[
    text("base", NONE, "Earlier archive: leave out what it has").shown("file"),
    switch("full", NONE, "Send everything, though the registry has an earlier backup under this name"),
    switch("no-pause", NONE, "Do not pause the containers that write to the volume"),
    text("output", 'o', "File to write, instead of standard output").shown("file"),
    text("to", NONE, "Push to a registry, instead of writing a file").shown("reference"),
];

/// `volume backup`
pub static BACKUP: Command = Command::new(
    "backup",
    &["[OPTIONS] VOLUME"],
    Args::Exactly(1),
    "Write a volume as an archive, or push it to a registry",
    |a, p| Box::pin(backup(a, p)),
)
.flags(&[BACKUP_FLAGS])
.details(
    "An archive with a base needs that one, and what that was based on, to be restored. In a registry, a backup takes \
     from the one that has its name what is the same, and needs nothing else.",
);

const RESTORE_FLAGS: &[Flag] = &[
    text("from", NONE, "Pull from a registry, instead of reading files").shown("reference"),
    list("label", NONE, "Set a label, beside those of the backup").check(check_label),
];

/// `volume restore`
pub static RESTORE: Command = Command::new(
    "restore",
    &["[OPTIONS] VOLUME [ARCHIVE [BASE...]]"],
    Args::AtLeast(1),
    "Make a volume of a backup",
    |a, p| Box::pin(restore(a, p)),
)
.flags(&[RESTORE_FLAGS])
.details("Reads standard input without ARCHIVE. The volume must not be there.");

async fn backup(app: &App, p: Parsed) -> Done {
    let (name, pause, base) = (&p.args[0], !p.is("no-pause"), p.get("base"));
    if p.get("to").is_empty() {
        if p.is("full") {
            return Err(Error::Refused("--full is for backups with --to".into()));
        }
        let out = output_file::Target::check(p.get("output"), "failed to back up volume")?;
        let base = if base.is_empty() { None } else { Some(in_order(vec![open(base)?], false)) };
        out.write(app.client()?.volume_backup(name, pause, base).await?).await?;
        return Ok(0);
    }
    if !base.is_empty() || !p.get("output").is_empty() {
        return Err(Error::Refused("conflicting options: --to goes with neither --base nor --output".into()));
    }
    let to = parse(p.get("to"))?.tagged();
    let auth = auth_for(app, &to);
    let told = app.client()?.volume_backup_to(name, pause, &to.to_string(), p.is("full"), &auth).await?;
    app.print(format!(
        "{}@{}\n{} in {} files; {} sent in {} of {} packs\n",
        to.familiar(),
        told.digest,
        human_size(told.size as f64),
        told.files,
        human_size(told.new_bytes as f64),
        told.new_packs,
        told.packs,
    ))?;
    Ok(0)
}

async fn restore(app: &App, p: Parsed) -> Done {
    let (name, archives) = (&p.args[0], &p.args[1..]);
    let labels = pairs(&p.all("label"));
    let client = app.client()?;
    let made = if !p.get("from").is_empty() {
        if !archives.is_empty() {
            return Err(Error::Refused("conflicting options: --from goes with no archive".into()));
        }
        let from = parse(p.get("from"))?.tagged();
        let auth = auth_for(app, &from);
        client.volume_restore_from(name, &labels, &from.to_string(), &auth).await?
    } else if archives.is_empty() {
        if crate::terminal::is_terminal(std::io::stdin()) {
            return Err(Error::Refused("requested restore from stdin, but stdin is empty".into()));
        }
        client.volume_restore(name, &labels, Upload::tar_chunks(pack::stdin())).await?
    } else {
        let archives = archives.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        client.volume_restore(name, &labels, in_order(archives, true)).await?
    };
    app.print(format!("{}\n", made.name))?;
    Ok(0)
}

fn open(path: impl AsRef<Path>) -> Result<Archive, Error> {
    let path = path.as_ref();
    let file = File::open(path).map_err(Error::file("open", path))?;
    let mut archive = Archive::open(file).map_err(|error| wrong(path, &error))?;
    // Said before anything is sent.
    archive.documents().map_err(|error| wrong(path, &error))?;
    Ok(archive)
}

fn wrong(path: &Path, error: &dray_backup::Error) -> Error {
    Error::Refused(format!("{}: {error}", path.display()))
}

fn in_order(mut archives: Vec<Archive>, packs: bool) -> Upload {
    Upload::tar_chunks(pack::stream(move |out| {
        Archive::in_order(&mut archives, packs, out).map_err(std::io::Error::other)
    }))
}
