//! Plans carried out on a daemon, by its API alone: any Docker-compatible one.
//!
//! ```text
//! observe.rs   what is there          network.rs volume.rs   what services share
//! create.rs    a plan's containers    start.rs wait.rs       in order of dependency, with conditions
//! roll.rs      changed services, container by container
//! hook.rs file.rs   commands and contents that go into containers
//! stop.rs      stop, kill, remove; down
//! progress.rs  what users see of it
//! ```
//! Whatever is interrupted at any moment is mended by the next run: each starts from what is there.

mod create;
mod error;
mod file;
mod hook;
mod network;
mod observe;
mod progress;
mod roll;
mod start;
mod stop;
mod volume;
mod wait;

use dray_client::Client;

pub use create::OneOff;
pub use error::Error;
pub use hook::HookOutput;
pub use observe::{Include, Observed};
pub use progress::{Event, Progress, Silent, Status};
pub use roll::Replacement;
pub use start::Start;
pub use stop::{Down, Images};

use crate::model::project::Project;

/// What operations return.
pub type Result<T> = std::result::Result<T, Error>;

/// A daemon, and who hears what happens.
pub struct Engine<'a> {
    /// The daemon.
    pub client: &'a Client,
    /// Who hears.
    pub progress: &'a dyn Progress,
    /// What stands between the parts of names.
    pub separator: &'a str,
}

impl Engine<'_> {
    fn tell(&self, id: &str, status: Status, text: &str) {
        self.progress.event(Event { id: id.to_owned(), parent: None, status, text: text.to_owned() });
    }

    /// Whether the daemon's API is at least this version.
    async fn speaks(&self, major: u32, minor: u32) -> Result<bool> {
        self.client.negotiate().await?;
        let version = self.client.version();
        let mut parts = version.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
        let have = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        Ok(have >= (major, minor))
    }
}

/// How progress names a container.
fn shown(name: &str) -> String {
    format!("Container {name}")
}

/// Whether waiting for a service makes sense: it is on and has containers.
fn has_containers(project: &Project, name: &str) -> bool {
    project.services.get(name).is_some_and(|s| s.replicas() > 0 && s.provider.is_none())
}
