//! What a build may ask this client for while it runs: the secrets of `--secret`, the agents of `--ssh`, caches in
//! folders; and what it puts out here.
//!
//! ```text
//! POST /session ── taken over, HTTP/2 ──► the daemon calls: Secrets.GetSecret, SSH.CheckAgent, SSH.ForwardAgent,
//!                                         FileSend.DiffCopy (output.rs), Content.Read and Write (content.rs)
//! ```
//! A secret is read when a step asks for it. Of an agent's protocol only the listing of keys and signing pass: a step
//! cannot add keys to the user's agent, remove or lock them.

pub mod content;
pub mod output;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use content::Stores;
use dray_buildkit::AGENT_ID;
use dray_buildkit::content::{READ, WRITE};
use dray_buildkit::filesend::DIFF_COPY;
use dray_buildkit::grpc::{self, Call, Code, Messages, Reply, ReplySender, Status};
use dray_buildkit::proto::control::{BytesMessage, Empty};
use dray_buildkit::proto::session::{CheckAgentRequest, GetSecretRequest, GetSecretResponse};
use dray_client::Client;
use output::Outputs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::command_error::Error;
use crate::opts::csv;

/// The largest secret, as BuildKit's clients have it.
const MAX_SECRET: u64 = 500 << 10;
/// The largest message of an agent, as OpenSSH has it.
const MAX_MESSAGE: usize = 256 << 10;
/// Types of messages to an agent (draft-ietf-sshm-ssh-agent, 5.1), and its answer to what it does not do.
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const EXTENSION: u8 = 27;
const FAILURE: u8 = 5;
/// The one extension that a client of an agent needs: it tells the agent which session it signs for.
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretPlace {
    File(PathBuf),
    Variable(String),
}

/// What is offered to a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    secrets: BTreeMap<String, SecretPlace>,
    agents: BTreeMap<String, PathBuf>,
}

impl Offers {
    /// Reads the values of `--secret` and `--ssh`.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn parse(secrets: &[String], agents: &[String]) -> Result<Offers, String> {
        let mut offers = Offers::default();
        for text in secrets {
            let (id, place) = secret(text)?;
            offers.secrets.insert(id, place);
        }
        for text in agents {
            let (id, socket) = agent(text)?;
            if offers.agents.insert(id.clone(), socket).is_some() {
                return Err(format!("duplicate SSH key ID {id:?}"));
            }
        }
        Ok(offers)
    }

    /// Whether there is nothing to offer.
    fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.agents.is_empty()
    }

    fn read(&self, id: &str) -> Result<Vec<u8>, Status> {
        let missing = || Status::new(Code::NotFound, format!("secret {id}: not found"));
        let failed = |error| Status::new(Code::Unknown, format!("secret {id}: {error}"));
        match self.secrets.get(id).ok_or_else(missing)? {
            SecretPlace::Variable(name) => {
                use std::os::unix::ffi::OsStringExt;
                Ok(std::env::var_os(name).map(OsStringExt::into_vec).unwrap_or_default())
            }
            SecretPlace::File(path) => std::fs::read(path).map_err(failed),
        }
    }

    fn agent(&self, id: &str) -> Result<&PathBuf, Status> {
        let id = if id.is_empty() { "default" } else { id };
        let missing = || Status::new(Code::Unknown, format!("unset ssh forward key {id}"));
        self.agents.get(id).ok_or_else(missing)
    }

    async fn answer(&self, mut call: Call) -> Result<Reply, Status> {
        match call.method.as_str() {
            "/moby.buildkit.secrets.v1.Secrets/GetSecret" => {
                let request: GetSecretRequest = call.messages.only().await?;
                Ok(Reply::one(&GetSecretResponse { data: self.read(&request.id)? }))
            }
            "/moby.sshforward.v1.SSH/CheckAgent" if !self.agents.is_empty() => {
                let request: CheckAgentRequest = call.messages.only().await?;
                self.agent(&request.id)?;
                Ok(Reply::one(&Empty {}))
            }
            "/moby.sshforward.v1.SSH/ForwardAgent" if !self.agents.is_empty() => {
                let id = call.metadata.get(AGENT_ID).and_then(|value| value.to_str().ok());
                let path = self.agent(id.unwrap_or_default())?;
                let failed =
                    |error| Status::new(Code::Unknown, format!("failed to connect to agent: {error}"));
                let agent = UnixStream::connect(path).await.map_err(failed)?;
                let (sender, reply) = Reply::many();
                tokio::spawn(forward(agent, call.messages, sender));
                Ok(reply)
            }
            other => Err(Status::unimplemented(format!("unknown method {other}"))),
        }
    }
}

/// All that a session is for.
#[derive(Default)]
pub struct BuildSession {
    /// What the daemon may ask for.
    pub offers: Offers,
    /// What comes here.
    pub outputs: Outputs,
    /// Folders with caches.
    pub stores: Stores,
}

impl BuildSession {
    /// Whether there is nothing that a session is needed for.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty() && self.outputs.is_empty() && self.stores.is_empty()
    }

    /// Opens the session with the daemon; gives its id. It lasts as long as the program.
    ///
    /// # Errors
    /// The daemon has no sessions, or is not there.
    pub async fn open(self, client: &Client) -> Result<String, Error> {
        let mut random = [0; 16];
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let connection = client.session(&id).await?;
        tokio::spawn(async move {
            // A build that needs the session tells of its end.
            let _ = grpc::serve(tokio::io::join(connection.output, connection.input), Arc::new(self)).await;
        });
        Ok(id)
    }
}

impl grpc::Service for BuildSession {
    fn call(self: Arc<Self>, call: Call) -> Pin<Box<dyn Future<Output = Result<Reply, Status>> + Send>> {
        Box::pin(async move {
            match call.method.as_str() {
                DIFF_COPY => self.outputs.take(call).await,
                READ => self.stores.read(call).await,
                WRITE => self.stores.write(call).await,
                _ => self.offers.answer(call).await,
            }
        })
    }
}

/// Talks to an agent for a step: question by question, as the protocol has it.
async fn forward(mut agent: UnixStream, mut messages: Messages, sender: ReplySender) {
    let mut asked = BytesMut::new();
    while let Ok(Some(message)) = messages.next::<BytesMessage>().await {
        asked.extend_from_slice(&message.data);
        loop {
            let question = match whole(&mut asked) {
                Ok(Some(question)) => question,
                Ok(None) => break,
                Err(()) => return,
            };
            let answer = match passes(&question) {
                true => ask(&mut agent, &question).await,
                false => Ok(Bytes::from_static(&[0, 0, 0, 1, FAILURE])),
            };
            let Ok(data) = answer else { return };
            if !sender.send(&BytesMessage { data }).await {
                return;
            }
        }
    }
}

/// Takes a whole message, with its length, off what has come; an error for one that is too long or empty.
fn whole(asked: &mut BytesMut) -> Result<Option<Bytes>, ()> {
    let Some(length) = asked.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > MAX_MESSAGE {
        return Err(());
    }
    Ok((asked.len() >= 4 + length).then(|| asked.split_to(4 + length).freeze()))
}

/// Whether a step may say this to the agent.
fn passes(question: &[u8]) -> bool {
    match question.get(4) {
        Some(&REQUEST_IDENTITIES | &SIGN_REQUEST) => true,
        Some(&EXTENSION) => {
            let mut name = &question[5..];
            name.remaining() >= 4 && {
                let length = name.get_u32() as usize;
                name.get(..length) == Some(SESSION_BIND)
            }
        }
        _ => false,
    }
}

async fn ask(agent: &mut UnixStream, question: &[u8]) -> std::io::Result<Bytes> {
    agent.write_all(question).await?;
    let length = agent.read_u32().await?;
    let size = usize::try_from(length).unwrap_or(usize::MAX);
    if size > MAX_MESSAGE {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut answer = BytesMut::zeroed(4 + size);
    (&mut answer[..4]).put_u32(length);
    agent.read_exact(&mut answer[4..]).await?;
    Ok(answer.freeze())
}

/// `id=name[,src=path|,env=VARIABLE][,type=file|env]`
fn secret(text: &str) -> Result<(String, SecretPlace), String> {
    let (mut id, mut file, mut variable, mut kind) = Default::default();
    for field in csv(text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        let value = value.to_owned();
        match key.to_lowercase().as_str() {
            "type" if matches!(value.as_str(), "file" | "env") => kind = value,
            "type" => return Err(format!("unsupported secret type {value:?}")),
            "id" => id = value,
            "source" | "src" => file = value,
            "env" => variable = value,
            key => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    let (id, mut file, mut variable, kind): (String, String, String, String) = (id, file, variable, kind);
    if id.is_empty() {
        return Err("secret missing ID".to_owned());
    }
    if kind == "env" && variable.is_empty() {
        variable = std::mem::take(&mut file);
    }
    if variable.is_empty() && file.is_empty() {
        match std::env::var_os(&id) {
            Some(_) => variable.clone_from(&id),
            None => file.clone_from(&id),
        }
    }
    if !variable.is_empty() {
        return Ok((id, SecretPlace::Variable(variable)));
    }
    let path = PathBuf::from(&file);
    let size = std::fs::metadata(&path)
        .map_err(|error| format!("failed to stat {file}: {}", crate::command_error::Sys(error)))?
        .len();
    if size > MAX_SECRET {
        return Err(format!("secret {id} too big. max size 500KB"));
    }
    Ok((id, SecretPlace::File(path)))
}

/// `default`, `id`, `id=socket`
fn agent(text: &str) -> Result<(String, PathBuf), String> {
    let (id, socket) = text.split_once('=').unwrap_or((text, ""));
    let socket = match socket {
        "" => std::env::var_os("SSH_AUTH_SOCK").unwrap_or_default(),
        given => given.into(),
    };
    if socket.is_empty() {
        return Err("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set".to_owned());
    }
    use std::os::unix::fs::FileTypeExt;
    let path = PathBuf::from(socket);
    let found = std::fs::metadata(&path).map_err(|error| {
        format!("failed to stat {}: {}", path.display(), crate::command_error::Sys(error))
    })?;
    if !found.file_type().is_socket() {
        let path = path.display();
        return Err(format!(
            "{path} is no socket of an ssh agent: keys are for an agent to hold (ssh-add {path})"
        ));
    }
    Ok((id.to_owned(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_or_variables() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        std::fs::write(&file, "x").unwrap();
        let shown = file.display();
        assert_eq!(secret(&format!("id=a,src={shown}")), Ok(("a".into(), SecretPlace::File(file.clone()))));
        let variable = |name: &str| Ok(("a".to_owned(), SecretPlace::Variable(name.to_owned())));
        assert_eq!(secret("id=a,env=HOME"), variable("HOME"));
        assert_eq!(secret("id=a,type=env,src=HOME"), variable("HOME"));
        assert_eq!(secret("id=HOME").unwrap().1, SecretPlace::Variable("HOME".into()));
        let message = |text: &str| secret(text).unwrap_err();
        assert_eq!(message("a"), "invalid field 'a' must be a key=value pair");
        assert_eq!(message("src=x"), "secret missing ID");
        assert_eq!(message("id=a,type=x"), "unsupported secret type \"x\"");
        assert_eq!(message("id=a,what=x"), "unexpected key 'what' in 'what=x'");
        assert!(message("id=a,src=/nowhere").starts_with("failed to stat /nowhere: "));
    }

    #[test]
    fn an_agent_is_a_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(agent(&format!("a={}", path.display())), Ok(("a".into(), path)));
        let key = dir.path().join("key");
        std::fs::write(&key, "x").unwrap();
        assert!(agent(&format!("a={}", key.display())).unwrap_err().contains("ssh-add"));
    }

    #[test]
    fn only_listing_and_signing_pass() {
        let question = |kind: u8, rest: &[u8]| {
            let mut bytes = BytesMut::new();
            bytes.put_u32(1 + rest.len() as u32);
            bytes.put_u8(kind);
            bytes.extend_from_slice(rest);
            bytes
        };
        let mut bind = BytesMut::new();
        bind.put_u32(SESSION_BIND.len() as u32);
        bind.extend_from_slice(SESSION_BIND);
        assert!(passes(&question(REQUEST_IDENTITIES, b"")) && passes(&question(SIGN_REQUEST, b"x")));
        assert!(passes(&question(EXTENSION, &bind)));
        // Adding, removing, locking, another extension, one cut short.
        for kind in [17, 18, 19, 22, 25] {
            assert!(!passes(&question(kind, b"")), "{kind}");
        }
        assert!(!passes(&question(EXTENSION, b"\0\0\0\x05query")) && !passes(&question(EXTENSION, b"\0\0")));
        let mut two = question(REQUEST_IDENTITIES, b"");
        two.extend_from_slice(&question(SIGN_REQUEST, b"abc")[..6]);
        assert_eq!(whole(&mut two).unwrap().unwrap().len(), 5);
        assert_eq!(whole(&mut two), Ok(None));
        assert!(whole(&mut BytesMut::from(&b"\xff\xff\xff\xff"[..])).is_err());
    }
}
