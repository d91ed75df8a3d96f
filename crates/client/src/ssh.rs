//! A daemon behind SSH (`ssh://[user@]host[:port][/path]`): the program `ssh` runs a client over there that joins its
//! standard streams with its daemon's socket, as Docker's client has it done.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::error::Error;

/// Seconds until a machine that does not answer is given up.
const CONNECT_TIMEOUT: &str = "ConnectTimeout=30";
/// No more of what `ssh` says is kept for the error.
const LONGEST_WORD: u64 = 8 << 10;

/// Where the other machine is, and how to come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The daemon's socket over there, if it is not the one its client knows.
    path: Option<String>,
}

impl Ssh {
    /// Reads what stands behind `ssh://`.
    ///
    /// # Errors
    /// It is no such address, or has a password in it.
    pub fn parse(text: &str, rest: &str) -> Result<Ssh, Error> {
        let wrong = |why: &str| Error::Ssh { host: text.to_owned(), why: why.to_owned() };
        let (authority, path) =
            rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        if path.contains('?') || authority.contains('?') {
            return Err(wrong("extra query after the host"));
        }
        if path.contains('#') || authority.contains('#') {
            return Err(wrong("extra fragment after the host"));
        }
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(u, p)| (Some(u), p));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(wrong("plain-text password is not supported"));
        }
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        // It goes through the other machine's shell.
        if !path.chars().all(|c| c.is_alphanumeric() || "/._-+@:, ".contains(c)) {
            return Err(wrong("unsupported character in the path"));
        }
        let port = port.map(str::parse).transpose().map_err(|_| wrong("invalid port"))?;
        if host.is_empty() {
            return Err(wrong("no host specified"));
        }
        Ok(Ssh {
            user: user.filter(|user| !user.is_empty()).map(str::to_owned),
            host: host.to_owned(),
            port,
            path: (!path.is_empty()).then(|| format!("/{path}")),
        })
    }

    fn args(&self) -> Vec<String> {
        let mut args = vec!["-o".to_owned(), CONNECT_TIMEOUT.to_owned(), "-T".to_owned()];
        if let Some(user) = &self.user {
            args.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            args.extend(["-p".to_owned(), port.to_string()]);
        }
        // What follows is a host, whatever it looks like.
        args.extend(["--".to_owned(), self.host.clone(), self.command()]);
        args
    }

    /// What the other machine's shell is given: Dray's client where there is one, else Docker's.
    fn command(&self) -> String {
        let at = self.path.as_ref().map_or_else(String::new, |path| format!("--host \"unix://{path}\" "));
        let dial = format!("{at}system dial-stdio");
        format!("sh -c 'command -v dray >/dev/null && exec dray {dial}; exec docker {dial}'")
    }

    /// Begins to connect. That it fails is told when the first answer is waited for.
    ///
    /// # Errors
    /// There is no program `ssh`.
    pub(crate) fn connect(&self, text: &str) -> Result<Connection, Error> {
        let args = self.args();
        let mut child = Command::new("ssh")
            .args(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Connect { host: text.to_owned(), source })?;
        let missing = || Error::Connect { host: text.to_owned(), source: io::ErrorKind::BrokenPipe.into() };
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let line = format!("ssh {}", args.join(" "));
        Ok(Connection { input: Some(input), output, end: End::Running(Some((child, line))) })
    }
}

/// A running `ssh` as a stream.
pub(crate) struct Connection {
    /// None once this side has said all.
    input: Option<ChildStdin>,
    output: ChildStdout,
    end: End,
}

enum End {
    Running(Option<(Child, String)>),
    Ending(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>),
    Ended,
}

/// How it went: an error with what `ssh` said, unless all was well.
async fn ended(mut child: Child, line: String) -> io::Result<()> {
    let mut said = String::new();
    if let Some(errors) = child.stderr.take() {
        // What cannot be read is not told.
        let _ = errors.take(LONGEST_WORD).read_to_string(&mut said).await;
    }
    let status = child.wait().await?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "command [{line}] has exited with {status}, make sure the URL is valid, and Dray or Docker 18.09 or later is \
             installed on the remote host: stderr={}",
            said.trim()
        ))),
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match &mut self.end {
                End::Ended => return Poll::Ready(Ok(())),
                End::Ending(end) => {
                    let result = std::task::ready!(end.as_mut().poll(cx));
                    self.end = End::Ended;
                    return Poll::Ready(result);
                }
                End::Running(child) => {
                    let before = buf.filled().len();
                    let (child, output) = (child.take(), Pin::new(&mut self.output));
                    let read = output.poll_read(cx, buf);
                    let Poll::Ready(Ok(())) = read else {
                        self.end = End::Running(child);
                        return read;
                    };
                    if buf.filled().len() > before || buf.remaining() == 0 {
                        self.end = End::Running(child);
                        return read;
                    }
                    let Some((child, line)) = child else { return read };
                    self.end = End::Ending(Box::pin(ended(child, line)));
                }
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(cx, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.input.as_mut().map_or(Poll::Ready(Ok(())), |input| Pin::new(input).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(input) = &mut self.input {
            std::task::ready!(Pin::new(input).poll_shutdown(cx))?;
        }
        self.input = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Result<String, String> {
        let rest = text.strip_prefix("ssh://").unwrap();
        let parsed = Ssh::parse(text, rest).map_err(|error| error.to_string())?;
        let line = parsed.args().join(" ");
        Ok(line.strip_prefix("-o ConnectTimeout=30 -T ").unwrap().to_owned())
    }

    #[test]
    fn addresses_become_arguments() {
        let dial = "sh -c 'command -v dray >/dev/null && exec dray system dial-stdio; exec docker system dial-stdio'";
        assert_eq!(args("ssh://there").unwrap(), format!("-- there {dial}"));
        assert_eq!(args("ssh://me@there:2222/").unwrap(), format!("-l me -p 2222 -- there {dial}"));
        assert_eq!(args("ssh://me@[fe80::1]:22").unwrap(), format!("-l me -p 22 -- fe80::1 {dial}"));
        assert_eq!(args("ssh://-oProxyCommand=evil").unwrap(), format!("-- -oProxyCommand=evil {dial}"));
        let elsewhere = args("ssh://there/run/d.sock").unwrap();
        assert!(
            elsewhere.contains("exec dray --host \"unix:///run/d.sock\" system dial-stdio;"),
            "{elsewhere}"
        );
    }

    #[test]
    fn what_is_no_address_is_named() {
        for (text, why) in [
            ("ssh://", "no host specified"),
            ("ssh://me:secret@there", "plain-text password is not supported"),
            ("ssh://there:x", "invalid port"),
            ("ssh://there?x=1", "extra query after the host"),
            ("ssh://there/a#b", "extra fragment after the host"),
            ("ssh://there/a$(evil)", "unsupported character in the path"),
            ("ssh://there/a'b", "unsupported character in the path"),
        ] {
            assert!(args(text).unwrap_err().ends_with(why), "{text}");
        }
    }
}
