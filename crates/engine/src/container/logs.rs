//! A container's log.

use std::sync::Arc;

use super::live::Container;
use super::service::Service;
use super::{Error, create};
use crate::log::{self, Driver, LogOptions, LogStream, Source};

impl Service {
    /// Reads a container's log. Gives the stream and whether it is framed.
    ///
    /// # Errors
    /// When its driver cannot be read, or neither stream is wanted.
    pub fn logs(self: &Arc<Self>, called: &str, options: LogOptions) -> Result<(LogStream, bool), Error> {
        let container = self.registry.find(called)?;
        let source = self.log_source(&container)?;
        let framed = !source.tty;
        Ok((LogStream::open(source, options)?, framed))
    }

    pub(super) fn log_source(&self, container: &Container) -> Result<Source, Error> {
        let record = container.record();
        if create::log_driver(&record.host)? == Driver::None {
            return Err(log::Error::NotReadable.into());
        }
        Ok(Source {
            path: self.log_file(&record),
            tty: record.config.tty,
            running: container.watch_running(),
        })
    }
}
