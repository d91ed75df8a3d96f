//! Containers: what they are made of, and their life from create to remove.
//!
//! ```text
//! create ─▶ record (store) + folder            containers/<id>/{upper,work,hosts,…}
//! start  ─▶ networking, spec, shim             <run-root>/c/<id>
//! exit   ─▶ settled: network down, restart or stay, auto-remove
//! ```
//!
//! The work of one operation is synchronous and runs on a blocking thread; only waiting (for an exit,
//! a log line, a client) is asynchronous. What a container is doing lives in its [`record`], which is
//! written to the store before anything it says is acknowledged.

mod archive;
mod attach;
mod autoscale;
mod boot;
mod change;
mod commit;
pub(crate) mod copy;
mod create;
mod error;
mod exec_target;
mod exit;
mod health;
mod hold;
mod host;
mod idmap;
pub mod images;
mod inspect;
mod list;
mod live;
mod live_update;
mod logs;
mod merge;
pub(crate) mod mount;
mod mounting;
pub mod names;
pub mod networking;
mod process;
mod prune;
pub(crate) mod record;
mod registry;
mod remove;
mod restart;
mod restore;
pub(crate) mod rootfs;
mod service;
pub(crate) mod share;
pub mod signal;
pub(crate) mod spec;
mod start;
mod stats;
mod stop;
mod stream;
mod top;
mod trace;
pub(crate) mod validate;
pub mod volumes;
mod wait;

pub use archive::UnpackOptions;
pub use attach::{AttachOptions, Attachment};
pub use commit::CommitOptions;
pub use error::Error;
pub use exec_target::ExecTarget;
pub(crate) use health::{Probe, Prober};
pub use images::{CommitRequest, ContainerImage, ContainerImages};
pub use list::ListOptions;
pub use networking::{Attached, ContainerNetworking, Link, NetworkedContainer};
pub use registry::{ImageUser, Registry};
pub use service::{Config, Defaults, Service, Services};
pub(crate) use spec::oci_user;
pub(crate) use start::may_give;
pub use stats::StatsReader;
pub(crate) use stream::{Ended, Wiring, carry, parse_keys};
pub use volumes::{ContainerVolumes, VolumeHandle, VolumeRequest};
pub use wait::{Wait, WaitCondition};
