//! One service per Docker noun: container, image, network, volume, exec, log, event, build.
//!
//! Each service receives just what it uses; they are wired together in one place. Routes of the
//! daemon call them with the wire types of `dray-api`.

pub mod build;
pub mod cdi;
pub mod container;
pub mod emulator;
mod engine;
mod error;
pub mod event;
pub mod exec;
pub mod image;
pub mod log;
pub mod network;
pub mod system;
pub mod timestamp;
pub mod trust;
pub mod volume;

pub use engine::{Engine, EngineConfig, OpenError, Transfers};
pub use error::{ErrorKind, ServiceError};
pub use event::EventBus;
