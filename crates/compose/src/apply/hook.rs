//! Hooks: commands that run in a container after it has started or before it stops.

use std::time::Duration;

use dray_api::container::{ExecCreateRequest, ExecStartRequest};
use dray_client::Frames;

use super::{Engine, Error, Result};
use crate::model::service::{Hook, Service};
use crate::plan::Seen;
use crate::plan::container::environment;

/// Who hears what hooks write.
pub trait HookOutput {
    /// Some of what a hook of a container has written.
    fn write(&self, container: &Seen, bytes: &[u8]);
}

impl Engine<'_> {
    pub(super) async fn run_hook(
        &self,
        container: &Seen,
        name: &str,
        service: &Service,
        hook: &Hook,
        output: Option<&dyn HookOutput>,
    ) -> Result<()> {
        let output = output.filter(|_| self.client.rehearsal().is_none());
        let heard = output.is_some();
        let request = ExecCreateRequest {
            user: hook.user.clone(),
            privileged: hook.privileged,
            env: Some(environment(&hook.environment)),
            working_dir: hook.working_dir.clone(),
            cmd: hook.command.0.clone().map(Into::into),
            attach_stdout: heard,
            attach_stderr: heard,
            ..ExecCreateRequest::default()
        };
        let exec = self.client.exec_create(&container.summary.id, &request).await?;
        match output {
            Some(output) => self.hear_hook(container, service, &exec.id, output).await?,
            None => {
                let start = ExecStartRequest { detach: true, ..ExecStartRequest::default() };
                self.client.exec_start(&exec.id, &start).await?;
            }
        }
        let mut pause = Duration::from_millis(10);
        loop {
            let found = self.client.exec_inspect(&exec.id).await?;
            if !found.running {
                return match found.exit_code.unwrap_or(0) {
                    0 => Ok(()),
                    code => Err(Error::Hook { service: name.to_owned(), code }),
                };
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    async fn hear_hook(
        &self,
        container: &Seen,
        service: &Service,
        exec: &str,
        output: &dyn HookOutput,
    ) -> Result<()> {
        let stream = |source| Error::Stream { what: "reading a hook's output", source };
        let start = ExecStartRequest::default();
        let mut joined = self.client.exec_attach(exec, &start).await?;
        let _ = service;
        let mut frames = Frames::new(&mut joined.output);
        while let Some((_, bytes)) = frames.next().await.map_err(stream)? {
            output.write(container, &bytes);
        }
        Ok(())
    }
}
