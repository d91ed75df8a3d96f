//! The daemon: its API's head, its configuration, crashes, clients that hang up, a full disk, private roots.

mod api;
mod chaos;
mod config;
mod crash;
mod full_disk;
mod hang_up;
mod private;
mod ssh;
