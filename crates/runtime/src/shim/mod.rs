//! The shim: one small process per container, and the engine's side of talking to it.
//!
//! ```text
//! <run-dir>/            <run-root>/c/<id>
//!   shim.sock           control socket: one request per connection; attach and exec go on as frames
//!   shim.pid            process id of the shim
//!   state.json          ids of shim and init, start time of init, cgroup, whether paused
//!   seccomp.bpf         its compiled system call filter, for later execs
//!   exit.json           exit status; once here, the container is over
//! ```

pub mod client;
mod control;
pub mod frame;
mod log;
mod lost;
mod reaper;
pub mod request;
pub mod server;
mod session;
mod wire;
