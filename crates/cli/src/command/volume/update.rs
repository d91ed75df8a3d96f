//! `volume update`: Docker's for the volumes of a cluster, and labels, which are Dray's own.

use dray_client::api::extension::VolumeUpdateRequest;

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, NONE, Parsed, list, text};
use crate::opts::env::check_label;
use crate::opts::pairs;
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[
    text("availability", NONE, "Availability of a cluster's volume").default("active").hidden(),
    list("label-add", NONE, "Add a label, or change it").check(check_label),
    list("label-rm", NONE, "Take a label off"),
];

/// `volume update`
pub static COMMAND: Command = Command::new(
    "update",
    &["[OPTIONS] [VOLUME]"],
    Args::AtMost(1),
    "Change the labels of a volume",
    |a, p| Box::pin(run(a, p)),
)
.flags(&[FLAGS]);

async fn run(app: &App, p: Parsed) -> Done {
    let Some(name) = p.args.first() else {
        return Err(Error::Refused("name the volume that is to be changed".into()));
    };
    let client = app.client()?;
    let request =
        VolumeUpdateRequest { labels: pairs(&p.all("label-add")), remove_labels: p.all("label-rm") };
    if request.labels.is_empty() && request.remove_labels.is_empty() {
        client.volume_inspect_raw(name).await?;
        return Err(Error::Refused("can only update cluster volumes".into()));
    }
    app.print(format!("{}\n", client.volume_update(name, &request).await?.name))?;
    Ok(0)
}
