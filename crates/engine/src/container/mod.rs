//! Containers: what they are made of, and their life from create to remove.

mod error;
pub mod names;
pub mod networking;
pub mod signal;
pub mod volumes;

pub use error::Error;
pub use networking::{Attached, ContainerNetworking, Link, NetworkedContainer};
pub use volumes::{ContainerVolumes, VolumeHandle, VolumeRequest};
