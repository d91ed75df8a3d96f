//! Probes of health checks: an exec whose output is kept and whose time is limited.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dray_api::container::{Argv, ExecCreateRequest};
use dray_runtime::{AttachStreams, FRAME_HEADER, Frame, StreamKind};
use tokio::io::AsyncReadExt;

use super::{Exec, Service, Watched};
use crate::container::{Error, Probe, Prober as ProberTrait};

/// How much of a probe's output is kept.
const LONGEST: usize = 4096;

/// Runs probes as execs.
#[derive(Debug)]
pub(super) struct Prober {
    service: Weak<Service>,
}

impl Prober {
    pub(super) fn new(service: &Arc<Service>) -> Arc<Self> {
        Arc::new(Self { service: Arc::downgrade(service) })
    }
}

impl ProberTrait for Prober {
    fn probe(
        &self,
        container: String,
        argv: Vec<String>,
        timeout: Duration,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Probe, Error>> + Send>> {
        let service = self.service.upgrade();
        Box::pin(async move {
            let service = service.ok_or_else(|| Error::Interrupted("the daemon is shutting down".into()))?;
            service.probe(&container, argv, timeout).await
        })
    }
}

impl Service {
    async fn probe(
        self: &Arc<Self>,
        container: &str,
        argv: Vec<String>,
        timeout: Duration,
    ) -> Result<Probe, Error> {
        let request = ExecCreateRequest {
            cmd: Some(Argv(argv)),
            attach_stdout: true,
            attach_stderr: true,
            ..ExecCreateRequest::default()
        };
        let exec = self.register(container, request, Vec::new())?;
        self.announce(&exec, "exec_create", &[]);
        {
            let mut state = exec.state();
            (state.started, state.running) = (true, true);
        }
        self.announce(&exec, "exec_start", &[]);
        let watched = Watched::new(self, exec);
        let started = watched.run(None, AttachStreams::OUTPUT, false).await?;
        let mut output = Vec::new();
        let read = read_output(started.stream, &mut output);
        let probe = match tokio::time::timeout(timeout, read).await {
            Ok(code) => {
                watched.ended(code);
                Probe { exit_code: code, output: text(&output) }
            }
            Err(_) => {
                self.kill(watched.exec()).await;
                let said = format!("Health check exceeded timeout ({timeout:?})");
                let output = text(&output);
                let output = if output.is_empty() { said } else { format!("{said}: {output}") };
                Probe { exit_code: -1, output }
            }
        };
        Ok(probe)
    }

    /// Kills a probe by its parent, the shim: its process id may be another process's by now.
    async fn kill(self: &Arc<Self>, exec: &Arc<Exec>) {
        let killed = Arc::clone(exec);
        let killing = self.containers.blocking(move |containers| {
            let Some(container) = containers.registry().get(&killed.container) else { return Ok(()) };
            Ok(containers.shim(&container)?.kill_exec(&killed.id)?)
        });
        if let Err(error) = killing.await {
            // It has ended, or ends with its container.
            tracing::debug!(exec = exec.id, %error, "kill a health check that takes too long");
        }
    }
}

async fn read_output(stream: Option<std::os::unix::net::UnixStream>, output: &mut Vec<u8>) -> i32 {
    let Some(mut stream) = stream.and_then(|stream| {
        stream.set_nonblocking(true).ok()?;
        tokio::net::UnixStream::from_std(stream).ok()
    }) else {
        return -1;
    };
    loop {
        let mut header = [0; FRAME_HEADER];
        if stream.read_exact(&mut header).await.is_err() {
            return -1;
        }
        let Some(frame) = Frame::decode(header) else { return -1 };
        let mut payload = vec![0; frame.len];
        if stream.read_exact(&mut payload).await.is_err() {
            return -1;
        }
        if frame.stream == StreamKind::Control {
            let control: serde_json::Value = serde_json::from_slice(&payload).unwrap_or_default();
            return control["exit"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(-1);
        }
        let room = LONGEST.saturating_sub(output.len());
        output.extend_from_slice(&payload[..payload.len().min(room)]);
    }
}

fn text(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output).into_owned();
    if output.len() >= LONGEST { format!("{text}...") } else { text }
}
