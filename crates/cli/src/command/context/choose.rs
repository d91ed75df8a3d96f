//! `context use`.

use crate::app::App;
use crate::context;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// `context use`
pub static COMMAND: Command =
    Command::new("use", &["CONTEXT"], Args::Exactly(1), "Choose the context in use", |a, p| {
        Box::pin(run(a, p))
    });

async fn run(app: &App, p: Parsed) -> Done {
    let name = p.args.first().map_or("", String::as_str);
    if name != context::DEFAULT {
        context::check_name(name)?;
        context::get(app, name)?;
    }
    choose(app, name)?;
    app.print(format!("{name}\n"))?;
    app.warn(format!("Current context is now {name:?}"));
    if name != context::DEFAULT && std::env::var("DOCKER_HOST").is_ok_and(|host| !host.is_empty()) {
        app.warn(format!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {name:?}, either set the \
             global --context flag, or unset DOCKER_HOST environment variable."
        ));
    }
    Ok(0)
}

/// Writes down which context is in use.
///
/// # Errors
/// The file cannot be written.
pub fn choose(app: &App, name: &str) -> Result<(), crate::command_error::Error> {
    let text = if name == context::DEFAULT { "" } else { name };
    app.config().borrow_mut().set_text("currentContext", text)
}
