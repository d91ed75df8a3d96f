//! End-to-end tests: a file per command, grouped by noun. Each test has a daemon of its own and, where nothing
//! else is said, runs with both clients: `dray` and Docker's CLI.

mod build;
mod container;
mod daemon;
mod example;
mod image;
mod network;
mod registry;
mod system;
mod volume;
