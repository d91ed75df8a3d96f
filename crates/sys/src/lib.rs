//! System calls behind safe functions: the only crate with unsafe code.
//!
//! Each module is a noun of the kernel. What rustix has is used as it is; here is what it lacks.

#![allow(unsafe_code)]

pub mod bpf;
pub mod btrfs;
pub mod caps;
pub mod clone;
pub mod flush;
pub mod heap;
mod ioctl;
pub mod kernel;
pub mod listen;
pub mod mount;
pub mod netns;
pub mod netsock;
pub mod process;
pub mod project;
pub mod seccomp;
pub mod spawn;
