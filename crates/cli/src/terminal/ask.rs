//! Questions at the terminal, and their answers.

use std::io::BufRead as _;

use super::{Silence, restore_now};
use crate::app::App;
use crate::command_error::Error;

/// Asks and reads a line, without the blanks around it. Interrupted, the program ends with the terminal as it was.
///
/// # Errors
/// One of the streams is gone.
pub async fn ask(app: &App, question: &str) -> Result<String, Error> {
    app.print(question)?;
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        line = read => line.unwrap_or_else(|panic| Err(panic.into())),
        _ = tokio::signal::ctrl_c() => {
            app.print("\n")?;
            restore_now();
            std::process::exit(130);
        }
    };
    Ok(line.map_err(Error::io("read standard input"))?.trim().to_owned())
}

/// As [`ask`], and what is typed is not shown.
///
/// # Errors
/// As [`ask`], or the terminal refuses.
pub async fn ask_secret(app: &App, question: &str) -> Result<String, Error> {
    let silence = Silence::enter().map_err(Error::io("hide what is typed"))?;
    let answer = ask(app, question).await?;
    drop(silence);
    app.print("\n")?;
    Ok(answer)
}
