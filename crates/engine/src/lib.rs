//! One service per Docker noun: container, image, network, volume, exec, log, event, build.
//!
//! Each service receives just what it uses; they are wired together in one place. Routes of the
//! daemon call them with the wire types of `dray-api`.

pub mod container;
mod engine;
mod error;
pub mod event;
pub mod log;
pub mod timestamp;

pub use engine::{Engine, EngineConfig};
pub use error::{ErrorKind, ServiceError};
pub use event::EventBus;
