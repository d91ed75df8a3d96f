//! Containers: what they are made of, and their life from create to remove.

mod error;
mod host;
mod merge;
mod mount;
pub mod names;
pub mod networking;
mod record;
pub mod signal;
mod spec;
mod validate;
pub mod volumes;

pub use error::Error;
pub use networking::{Attached, ContainerNetworking, Link, NetworkedContainer};
pub use volumes::{ContainerVolumes, VolumeHandle, VolumeRequest};
