//! The daemon: its API's head, crashes, private roots.

mod api;
mod config;
mod crash;
