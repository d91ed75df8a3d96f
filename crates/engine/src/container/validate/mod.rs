//! What a create or update request may ask for, checked before anything is made.
//!
//! Texts are those that Docker's daemon answers: tools and people look for them.

mod capability;
mod config;
mod error;
mod host_config;
mod resources;

pub use capability::granted as granted_capabilities;
pub use config::config;
pub use error::Invalid;
pub use host_config::{Namespace, SecurityOptions, host_config, namespace, restart_policy, security_options};
pub use resources::resources;
