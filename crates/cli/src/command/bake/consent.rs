//! What a bake file wants beyond the folder that it is baked in: said, and asked for where somebody can answer.

use std::io::{BufRead as _, Write as _};

use dray_bake::Plan;
use dray_bake::entitlement::{Allowed, Ask};
use dray_bake::target::change::boolean;

use super::words;
use crate::app::App;
use crate::command_error::Error;
use crate::terminal;

/// How it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    /// The bake files are of another place.
    pub is_remote: bool,
    /// What is not allowed is let through, as buildx does for programs that read its output.
    pub silently: bool,
}

/// Asks for what is not allowed.
///
/// # Errors
/// It is not granted.
pub(super) async fn ask(
    app: &App,
    allowed: &Allowed,
    plan: &Plan,
    folder: &str,
    asking: Asking,
) -> Result<(), Error> {
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
    let asks = allowed.missing(&words::wants(plan, asking.is_remote)).asks(&folder);
    if asks.is_empty() || asking.silently {
        return Ok(());
    }
    let let_through = asking.is_remote && switched("BAKE_ALLOW_REMOTE_FS_ACCESS")? == Some(true);
    let of_files = switched("BUILDX_BAKE_ENTITLEMENTS_FS")?;
    let checks_files = of_files.unwrap_or(!let_through);
    let interactive = terminal::is_terminal(std::io::stdin());
    say(app, &asks, interactive, checks_files && of_files.is_none())?;
    if !checks_files && asks.iter().all(|ask| ask.is_local) {
        return Ok(());
    }
    if interactive && granted()? {
        return Ok(());
    }
    Err(Error::Refused("additional privileges requested".into()))
}

/// A variable of the environment that is a truth value.
fn switched(name: &str) -> Result<Option<bool>, Error> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    let wrong = || Error::Refused(format!("failed to parse {name} value {text:?}"));
    boolean(&text).ok_or_else(wrong).map(Some)
}

fn say(app: &App, asks: &[Ask], interactive: bool, tell_of_switch: bool) -> Result<(), Error> {
    let mut text =
        "Your build is requesting privileges for following possibly insecure capabilities:\n\n".to_owned();
    asks.iter().for_each(|ask| text.push_str(&format!(" - {}\n", ask.words)));
    let flags: Vec<&str> = asks.iter().map(|ask| ask.flag.as_str()).collect();
    let flags = flags.join(" ");
    text.push_str(&match interactive {
        true => format!(
            "\nIn order to not see this message in the future pass {flags:?} to grant requested privileges.\n"
        ),
        false => format!("\nPass {flags:?} to grant requested privileges.\n"),
    });
    let words: Vec<String> = std::env::args().collect();
    if let Some(at) = words.iter().position(|word| word == "bake") {
        let (before, after) = (words[1..=at].join(" "), words[at + 1..].join(" "));
        let line = format!("{} {before} {flags} {after}", app.name);
        text.push_str(&format!("\nYour full command with requested privileges:\n\n{}\n\n", line.trim_end()));
    }
    if tell_of_switch && asks.iter().any(|ask| ask.is_local) {
        text.push_str(
            "To disable filesystem entitlements checks, you can set BUILDX_BAKE_ENTITLEMENTS_FS=0 .\n\n",
        );
    }
    error_text(&text)
}

fn error_text(text: &str) -> Result<(), Error> {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::io("write standard error"))
}

fn granted() -> Result<bool, Error> {
    error_text("Do you want to grant requested privileges and continue? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(Error::io("read standard input"))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}
