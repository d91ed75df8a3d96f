//! The project's own commands. `cargo xtask quickstart` shows Dray at work on a fresh machine,
//! `cargo xtask test` installs what the tests need and passes them all; the rest serves daily work.

mod bench;
mod check;
mod command;
mod fuzz;
mod packages;
mod quickstart;
mod rerun;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build Dray and watch it do its main job: build, run, publish, log, stop
    Quickstart(quickstart::Options),
    /// Install what the tests need, make the test images, run every test, prove that nothing is left
    Test(test::Options),
    /// Formatting and lints, as CI looks at them
    Check,
    /// Format every source file
    Fmt,
    /// Only the end-to-end tests; a filter may follow
    E2e {
        /// Part of a test's name
        filter: Option<String>,
    },
    /// Only the tests that hold the project's structure and the specifications
    Conformance,
    /// Only the tests that compare with Docker's own engine
    Parity,
    /// End-to-end tests in a virtual machine: on cgroup v2, and with what this kernel may lack
    Vm(vm::Options),
    /// What runs in the virtual machine
    #[command(hide = true)]
    Inside,
    /// Run every fuzz target for a while
    Fuzz(fuzz::Options),
    /// Dray and its peers side by side, as ratios
    Bench(bench::Options),
    /// What the bench runs in containers
    #[command(subcommand, hide = true)]
    Probe(bench::probe::Options),
    /// Build the documentation of every crate
    Docs,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Quickstart(options) => quickstart::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Check => check::run(),
        Task::Fmt => check::format(),
        Task::E2e { filter } => test::suite("e2e", filter.as_deref()),
        Task::Conformance => packages::ensure_go()
            .and_then(|()| test::suite("layers", None))
            .and_then(|()| test::suite("distribution", None)),
        Task::Parity => test::suite("parity", None),
        Task::Vm(options) => vm::run(&options),
        Task::Inside => vm::inside::run(),
        Task::Fuzz(options) => fuzz::fuzz(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Probe(options) => bench::probe::run(&options),
        Task::Docs => check::docs(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
