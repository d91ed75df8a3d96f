//! Emulators: programs of other platforms run by the host's QEMU, which the kernel calls by itself (binfmt_misc).
//!
//! ```text
//! binfmt_misc                    looked at through a mount that is attached nowhere: the host has none if it had none
//!   qemu-aarch64                 the host's own handlers, used as they are if they hold their program open (F)
//!   dray-1f2e3d4c-aarch64        one of this daemon, registered when a program of its platform is first wanted,
//!                                and taken away when the daemon ends
//! ```
//! The kernel opens the program of a handler with F when it is registered, so that it is there in every container. For
//! that it has to be static. Where nobody else has binfmt_misc mounted, its handlers live as long as our mount (since
//! Linux 6.7), so that is kept. Else a daemon that was killed finds its handlers by their names when it starts again.

mod binfmt;
mod interpreter;
mod machine;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use dray_runtime::StartError;
use dray_spec::{Digest, Platform};

use binfmt::Binfmt;
use machine::Machine;

/// Why programs of a platform cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum EmulatorError {
    /// Another operating system.
    #[error("programs for {0} cannot be run on Linux")]
    OperatingSystem(String),
    /// An architecture that is not known.
    #[error("programs for {0} cannot be run on {host}: the architecture is not known", host = Platform::host())]
    Architecture(String),
    /// There is no emulator.
    #[error(
        "no emulator for {platform} on {host}: install qemu-user-static (for {program}-static), or register a handler with the flag F in binfmt_misc",
        host = Platform::host()
    )]
    Missing {
        /// The platform that is wanted.
        platform: String,
        /// What QEMU calls the program.
        program: String,
    },
    /// The kernel's list of handlers cannot be used.
    #[error("cannot {operation} to run programs for {platform}: {source}")]
    Binfmt {
        /// What was tried.
        operation: String,
        /// The platform that is wanted.
        platform: String,
        /// The refusal.
        source: io::Error,
    },
}

/// A start that failed: if the kernel does not know the program, because there is no emulator for it.
pub(crate) fn explained(prepared: Result<(), EmulatorError>, error: StartError) -> StartError {
    match prepared {
        Err(missing) if error.is_format() => {
            let detail = format!("exec format error: {missing}");
            error.with_detail(detail)
        }
        _ => error,
    }
}

/// The emulators of a daemon.
#[derive(Debug)]
pub struct Emulators {
    /// Begins the names of its handlers.
    prefix: String,
    /// Folders with emulators.
    folders: Vec<PathBuf>,
    /// Held while handlers are looked at and changed; open from the first one of ours on.
    registered: Mutex<Option<Binfmt>>,
}

impl Emulators {
    /// The emulators of the daemon with this run root. What an earlier one left is taken away.
    #[must_use]
    pub fn open(run_root: &Path) -> Self {
        let name = Digest::sha256_of(run_root.as_os_str().as_encoded_bytes());
        let prefix = format!("{OWN}{}-", &name.hex()[..8]);
        let left = Binfmt::open_loaded().ok();
        let emulators = Emulators { prefix, folders: interpreter::folders(), registered: Mutex::new(left) };
        emulators.close();
        emulators
    }

    /// Sees to it that programs of a platform run, as far as it takes an emulator.
    ///
    /// # Errors
    /// If there is none. A program may be of another platform than it seems, so this need not end a start.
    pub fn prepare(&self, platform: &Platform) -> Result<(), EmulatorError> {
        if platform.os != "linux" {
            return Err(EmulatorError::OperatingSystem(platform.to_string()));
        }
        let host = Platform::host();
        if runs_itself(&host.architecture, &platform.architecture) {
            return Ok(());
        }
        let machine = Machine::of(&platform.architecture)
            .ok_or_else(|| EmulatorError::Architecture(platform.to_string()))?;
        let failed = |operation: &str| {
            let (operation, platform) = (operation.to_owned(), platform.to_string());
            move |source| EmulatorError::Binfmt { operation, platform, source }
        };
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        let binfmt = match registered.take() {
            Some(binfmt) => binfmt,
            None => Binfmt::open().map_err(failed("open binfmt_misc"))?,
        };
        let done = self.prepare_in(&binfmt, machine, platform, failed);
        // Kept if there is something of ours in it.
        if binfmt.names().is_ok_and(|names| names.iter().any(|name| name.starts_with(&self.prefix))) {
            *registered = Some(binfmt);
        }
        done
    }

    fn prepare_in<F: FnOnce(io::Error) -> EmulatorError>(
        &self,
        binfmt: &Binfmt,
        machine: &Machine,
        platform: &Platform,
        failed: impl Fn(&str) -> F,
    ) -> Result<(), EmulatorError> {
        let handlers = binfmt.handlers().map_err(failed("read binfmt_misc"))?;
        // Another daemon's goes when that ends.
        let usable = |name: &str| !name.starts_with(OWN) || name.starts_with(&self.prefix);
        if handlers.iter().any(|handler| usable(&handler.name) && handler.runs(machine)) {
            return Ok(());
        }
        let Some(program) = interpreter::find(&self.folders, machine.qemu) else {
            let program = format!("qemu-{}", machine.qemu);
            return Err(EmulatorError::Missing { platform: platform.to_string(), program });
        };
        let name = format!("{}{}", self.prefix, machine.qemu);
        let register = format!("register {} in binfmt_misc", program.display());
        binfmt.register(&name, machine, &program).map_err(failed(&register))?;
        tracing::info!(%platform, program = %program.display(), "emulator registered");
        Ok(())
    }

    /// The platforms whose programs run here, this machine's first.
    #[must_use]
    pub fn platforms(&self) -> Vec<Platform> {
        let host = Platform::host();
        let handlers = Binfmt::open_loaded().and_then(|binfmt| binfmt.handlers()).unwrap_or_default();
        let mut platforms = vec![host.clone()];
        for machine in machine::ALL.iter().filter(|machine| machine.architecture != host.architecture) {
            let there = runs_itself(&host.architecture, machine.architecture)
                || handlers.iter().any(|handler| handler.runs(machine))
                || interpreter::find(&self.folders, machine.qemu).is_some();
            if there {
                platforms.push(Platform::new("linux", machine.architecture, None));
            }
        }
        platforms
    }

    /// Takes away what was registered.
    pub fn close(&self) {
        let mut registered = self.registered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(binfmt) = registered.take() else { return };
        for name in binfmt.names().unwrap_or_default().iter().filter(|name| name.starts_with(&self.prefix)) {
            if let Err(error) = binfmt.remove(name) {
                tracing::warn!(%name, %error, "a handler of binfmt_misc stays");
            }
        }
    }
}

/// Begins the names of all daemons' handlers.
const OWN: &str = "dray-";

/// Whether a machine's kernel runs programs of this architecture by itself.
fn runs_itself(host: &str, architecture: &str) -> bool {
    host == architecture || matches!((host, architecture), ("amd64", "386"))
}
