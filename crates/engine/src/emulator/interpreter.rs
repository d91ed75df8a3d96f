//! QEMU's programs on this host.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where distributions have them, beside the folders for programs.
const FOLDERS: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/libexec/qemu-binfmt", "/opt/qemu/bin"];

/// Names the one folder to be looked into, in place of the usual ones.
const OVERRIDE: &str = "DRAY_EMULATORS";

/// The folders that are looked into.
pub(super) fn folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os(OVERRIDE) {
        return vec![folder.into()];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect();
    folders.extend(FOLDERS.iter().map(PathBuf::from));
    folders
}

/// The emulator of a machine: one that needs nothing else, for it will run where there are no libraries of this host.
pub(super) fn find(folders: &[PathBuf], machine: &str) -> Option<PathBuf> {
    let names = [format!("qemu-{machine}-static"), format!("qemu-{machine}")];
    let all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.filter(|path| is_program(path)).find(|path| is_static(path).unwrap_or(false))
}

fn is_program(path: &Path) -> bool {
    // A character of binfmt_misc's own would end the path there.
    let plain = !path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b':' | b'\n' | b'\\'));
    plain && path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether a 64-bit ELF program has no interpreter of its own.
fn is_static(path: impl AsRef<OsStr>) -> std::io::Result<bool> {
    const INTERPRETER: u32 = 3;
    let mut file = File::open(path.as_ref())?;
    let mut header = [0; 64];
    file.read_exact(&mut header)?;
    if header[..5] != *b"\x7fELF\x02" {
        return Ok(false);
    }
    let of_two = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
    let mut offset = [0; 8];
    offset.copy_from_slice(&header[32..40]);
    let (start, size, count) = (u64::from_ne_bytes(offset), of_two(54), of_two(56));
    for n in 0..u64::from(count) {
        let mut kind = [0; 4];
        let at = n.checked_mul(size.into()).and_then(|at| at.checked_add(start));
        file.read_exact_at(&mut kind, at.ok_or(std::io::ErrorKind::InvalidData)?)?;
        if u32::from_ne_bytes(kind) == INTERPRETER {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_static_program_is_an_emulator() {
        let dir = tempfile::tempdir().unwrap();
        let folders = [dir.path().to_owned()];
        let place = |name: &str, content: &[u8], mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let mut header = vec![0; 64];
        header[..5].copy_from_slice(b"\x7fELF\x02");
        header[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        header[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        header[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        let with_segment = |kind: u32| [header.clone(), kind.to_ne_bytes().to_vec(), vec![0; 52]].concat();
        assert_eq!(find(&folders, "aarch64"), None);
        place("qemu-aarch64-static", &with_segment(1), 0o644);
        assert_eq!(find(&folders, "aarch64"), None, "it cannot be run");
        place("qemu-aarch64-static", &with_segment(3), 0o755);
        assert_eq!(find(&folders, "aarch64"), None, "it needs libraries");
        let plain = place("qemu-aarch64", &with_segment(1), 0o755);
        assert_eq!(find(&folders, "aarch64"), Some(plain));
        let of_name = place("qemu-aarch64-static", &with_segment(1), 0o755);
        assert_eq!(find(&folders, "aarch64"), Some(of_name));
        place("qemu-arm-static", b"#!/bin/sh\n", 0o755);
        assert_eq!(find(&folders, "arm"), None);
    }
}
