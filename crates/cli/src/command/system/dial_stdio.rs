//! `system dial-stdio`: joins standard input and output with the daemon's socket, for clients that come by SSH.

use std::io::Write as _;

use dray_client::connect::connect;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::App;
use crate::command_error::Error;
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};
use crate::stdio::read_stdin;

/// `system dial-stdio`
pub static COMMAND: Command = Command::new(
    "dial-stdio",
    &[""],
    Args::No,
    "Join the standard streams with the daemon's socket",
    |a, p| Box::pin(run(a, p)),
);

async fn run(app: &App, _: Parsed) -> Done {
    let stream = connect(app.client()?.endpoint()).await?;
    let (mut from, mut to) = tokio::io::split(stream);
    let input = async {
        let mut pieces = read_stdin();
        while let Some(piece) = pieces.recv().await {
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    let output = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer).await.map_err(Error::io("read the daemon's answer"))?;
            if read == 0 {
                return Ok(());
            }
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(&buffer[..read]).and_then(|()| stdout.flush());
            written.map_err(Error::io("write standard output"))?;
        }
    };
    let asked = async {
        match input.await {
            // What is still to be answered comes.
            Ok(()) => std::future::pending().await,
            Err(error) => Err(Error::io("write to the daemon")(error)),
        }
    };
    tokio::select! {
        result = output => result.map(|()| 0),
        result = asked => result,
    }
}
