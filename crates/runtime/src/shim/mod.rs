//! The shim: one small process per container, and the engine's side of talking to it.
//!
//! ```text
//! <run-dir>/            <run-root>/c/<id>
//!   shim.sock           control socket: one request per connection; attach and exec go on as frames
//!   state.json          ids of shim and init, start time of init, cgroup, whether paused
//!   exit.json           exit status; once here, the container is over
//! ```

pub mod client;
mod control;
pub mod frame;
pub mod log;
mod lost;
mod reaper;
pub mod request;
pub mod server;
mod session;
mod wire;
