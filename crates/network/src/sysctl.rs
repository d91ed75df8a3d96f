//! Kernel settings: switched on when needed, given back as they were found.
//!
//! What was changed is written to a file before it is changed, so that a daemon which was killed still gives it back
//! when its successor stops.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::host::Host;

const IPV4_FORWARD: &str = "net/ipv4/ip_forward";
const IPV6_FORWARD: &str = "net/ipv6/conf/all/forwarding";

/// The host's settings that were changed, with what they were.
#[derive(Debug)]
pub struct Settings {
    journal: PathBuf,
    changed: Mutex<BTreeMap<String, String>>,
    ready: [std::sync::atomic::AtomicBool; 2],
}

impl Settings {
    /// Takes over what an earlier daemon changed.
    pub fn open(journal: PathBuf) -> Self {
        let changed =
            fs::read(&journal).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        Self { journal, changed: Mutex::new(changed), ready: Default::default() }
    }

    /// Switches forwarding of a family on.
    pub fn forward(&self, host: &Host, v4: bool) -> Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        let ready = &self.ready[usize::from(v4)];
        if ready.load(Relaxed) {
            return Ok(());
        }
        if v4 {
            self.set(host, IPV4_FORWARD, "1")?;
        } else {
            // A router does not listen to other routers unless told so: the host would lose its own route.
            for name in listening_interfaces(host)? {
                self.set(host, &format!("net/ipv6/conf/{name}/accept_ra"), "2")?;
            }
            self.set(host, IPV6_FORWARD, "1")?;
        }
        ready.store(true, Relaxed);
        Ok(())
    }

    fn set(&self, host: &Host, key: &str, value: &str) -> Result<()> {
        host.run(|| {
            let before = read(key)?;
            if before == value {
                return Ok(());
            }
            let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
            changed.entry(key.to_owned()).or_insert(before);
            self.write_journal(&changed)?;
            write(key, value)
        })?
    }

    fn write_journal(&self, changed: &BTreeMap<String, String>) -> Result<()> {
        let fail = |source| Error::Io { operation: "write", path: self.journal.clone(), source };
        let text = serde_json::to_vec(changed).map_err(|e| fail(e.into()))?;
        let draft = self.journal.with_extension("new");
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, &self.journal)).map_err(fail)
    }

    /// Gives back what was changed, except what somebody changed since.
    pub fn restore(&self, host: &Host) -> Result<()> {
        for ready in &self.ready {
            ready.store(false, std::sync::atomic::Ordering::Relaxed);
        }
        let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let errors = host.run(|| {
            let give_back = |(key, value): (&String, &String)| match write(key, value) {
                // The interface is gone, and its setting with it.
                Err(e) if e.errno() == Some(libc::ENOENT) => None,
                other => other.err(),
            };
            // Forwarding first: it resets settings of interfaces when it changes.
            let (first, rest): (Vec<_>, Vec<_>) = changed.iter().partition(|(k, _)| !k.contains("accept_ra"));
            first.into_iter().chain(rest).filter_map(give_back).collect::<Vec<_>>()
        })?;
        let _ = fs::remove_file(&self.journal);
        Error::from_all(errors)
    }
}

/// Interfaces that take their routes from the routers around them.
fn listening_interfaces(host: &Host) -> Result<Vec<String>> {
    host.run(|| {
        let Ok(entries) = fs::read_dir("/proc/sys/net/ipv6/conf") else { return Vec::new() };
        let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
        names
            .filter(|n| n != "all" && n != "default")
            .filter(|n| read(&format!("net/ipv6/conf/{n}/accept_ra")).is_ok_and(|v| v == "1"))
            .collect()
    })
}

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

/// Reads a setting of the calling thread's network namespace.
pub fn read(key: &str) -> Result<String> {
    let path = path(key);
    fs::read_to_string(&path).map(|t| t.trim().to_owned()).map_err(|source| Error::Io {
        operation: "read",
        path,
        source,
    })
}

/// Changes a setting of the calling thread's network namespace.
pub fn write(key: &str, value: &str) -> Result<()> {
    let path = path(key);
    // Not created if absent: a file that is not there is a feature that the kernel lacks.
    let opened = fs::OpenOptions::new().write(true).open(&path);
    opened.and_then(|mut f| io::Write::write_all(&mut f, value.as_bytes())).map_err(|source| Error::Io {
        operation: "write",
        path,
        source,
    })
}
