//! `volume clone` and `volume snapshot`. Dray's own.

use crate::app::App;
use crate::flag::{Flag, NONE, Parsed, list, switch};
use crate::opts::env::check_label;
use crate::opts::pairs;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    list("label", NONE, "Set a label, beside those of the volume").check(check_label),
    switch("no-pause", NONE, "Do not pause the containers that write to the volume"),
];

/// `volume clone`
pub static CLONE: Command = Command::new(
    "clone",
    &["[OPTIONS] VOLUME NEW_VOLUME"],
    Args::Exactly(2),
    "Make a volume with the content of another",
    |a, p| Box::pin(clone(a, p)),
)
.flags(&[FLAGS])
.details("Nothing is copied where the file system can share blocks between files (btrfs, xfs).");

/// `volume snapshot`
pub static SNAPSHOT: Command = Command::new(
    "snapshot",
    &["[OPTIONS] VOLUME [NEW_VOLUME]"],
    Args::Range(1, 2),
    "Keep what a volume has now as a volume that nobody can write to",
    |a, p| Box::pin(snapshot(a, p)),
)
.flags(&[FLAGS])
.details(
    "Without NEW_VOLUME it is called after the volume and the time. Snapshots are those with the label \
     dev.dray.volume.snapshot; a clone of one can be written to.",
);

async fn clone(app: &App, p: Parsed) -> Done {
    make(app, &p, &p.args[1], false).await
}

async fn snapshot(app: &App, p: Parsed) -> Done {
    let name = p.args.get(1).cloned().unwrap_or_else(|| {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ");
        format!("{}-{now}", p.args[0])
    });
    make(app, &p, &name, true).await
}

async fn make(app: &App, p: &Parsed, name: &str, snapshot: bool) -> Done {
    let (labels, pause) = (pairs(&p.all("label")), !p.is("no-pause"));
    let made = app.client()?.volume_clone(&p.args[0], name, labels, pause, snapshot).await?;
    app.print(format!("{}\n", made.name))?;
    Ok(0)
}
