//! `network rm`.

use crate::app::App;
use crate::command_error::Error;
use crate::flag::{Flag, Parsed, switch};
use crate::spec::{Args, Command, Done};

const FLAGS: &[Flag] = &[switch("force", 'f', "Do not fail if it does not exist")];

/// `network rm`
pub static COMMAND: Command =
    Command::new("rm", &["NETWORK [NETWORK...]"], Args::AtLeast(1), "Remove networks", |a, p| {
        Box::pin(run(a, p))
    })
    .flags(&[FLAGS])
    .aliases(&["remove"])
    .also(&["network rm", "network remove"]);

async fn run(app: &App, p: Parsed) -> Done {
    let client = app.client()?;
    let mut failed = false;
    for name in &p.args {
        match client.network_remove(name).await {
            Ok(()) => app.print(format!("{name}\n"))?,
            Err(e) if p.is("force") && e.is_not_found() => {}
            Err(e) => {
                app.warn(e);
                failed = true;
            }
        }
    }
    if failed {
        app.warn("exit status 1");
        return Err(Error::Exit(1));
    }
    Ok(0)
}
