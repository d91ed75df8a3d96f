//! One static binary with four faces, told apart by what it is called with.
//!
//! The name it is called by is looked at before anything is set up: no flag parser, no async runtime, no
//! thread may cost the runtime or the shim anything.
//!
//! ```text
//! dray-runtime …, dray runtime …   OCI runtime; dray-runtime shim: one per container
//! docker-init -- program …         PID 1 of containers run with --init
//! dray daemon …                    the daemon
//! dray registry …                  the registry server
//! dray …, docker …, anything else  the client
//! ```

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// The commit this is built of, where `build.rs` could tell.
const COMMIT: Option<&str> = option_env!("DRAY_COMMIT");

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if called_as(&args, "docker-init") {
        return dray_runtime::pid1_main(&args);
    }
    if called_as(&args, "dray-runtime") {
        return dray_runtime::main(args);
    }
    if args.get(1).is_some_and(|word| word == "runtime") && called_as(&args, "dray") {
        args.remove(0);
        return dray_runtime::main(args);
    }
    if args.get(1).is_some_and(|word| word == "daemon") {
        return dray_daemon::main(args, COMMIT);
    }
    // Docker has no such command: by its name the client says so.
    if args.get(1).is_some_and(|word| word == "registry") && !called_as(&args, "docker") {
        return dray_registry_server::main(args);
    }
    dray_cli::main(args, COMMIT)
}

fn called_as(args: &[OsString], name: &str) -> bool {
    args.first().and_then(|arg| Path::new(arg).file_name()).is_some_and(|file| file == name)
}
