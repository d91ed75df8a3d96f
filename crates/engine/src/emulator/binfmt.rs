//! The kernel's list of handlers for programs, binfmt_misc (Documentation/admin-guide/binfmt-misc.rst).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Dir, Mode, OFlags, openat};

use super::machine::{HEADER, Machine};

/// The list, open.
#[derive(Debug)]
pub(super) struct Binfmt {
    folder: OwnedFd,
    /// Without it there would be no such file system.
    _mount: OwnedFd,
}

/// A handler.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Handler {
    pub name: String,
    enabled: bool,
    /// Its program was opened when it was registered.
    held_open: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Binfmt {
    /// Opens it if this kernel has it already; a module is not loaded for it.
    pub fn open_loaded() -> io::Result<Self> {
        let known = std::fs::read_to_string("/proc/filesystems")?;
        match known.lines().any(|line| line.ends_with("\tbinfmt_misc")) {
            true => Self::open(),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Opens it, mounted or not.
    pub fn open() -> io::Result<Self> {
        let mount = dray_sys::mount::new_detached("binfmt_misc", None, &[], 0)?;
        // What the mount is known by can only be opened from.
        let folder =
            openat(&mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Binfmt { folder, _mount: mount })
    }

    /// The names of the handlers.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(self.folder.as_fd())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !matches!(name.as_str(), "." | ".." | "register" | "status") {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The handlers. One that has gone meanwhile, or cannot be read, is none.
    pub fn handlers(&self) -> io::Result<Vec<Handler>> {
        let read = |name: String| Handler::parse(&name, &self.read(&name).ok()?);
        Ok(self.names()?.into_iter().filter_map(read).collect())
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let file = openat(&self.folder, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        io::read_to_string(std::fs::File::from(file))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let file = openat(&self.folder, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        // At once: each write is a command.
        match rustix::io::write(&file, bytes)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// Adds a handler for a machine's programs: held open, with the rights of the program that it runs, which keeps its
    /// name.
    pub fn register(&self, name: &str, machine: &Machine, program: &Path) -> io::Result<()> {
        let what = format!(":{name}:M:0:{}:{}:", escaped(&machine.magic()), escaped(&machine.mask()));
        self.write("register", &[what.as_bytes(), program.as_os_str().as_bytes(), b":POCF"].concat())
    }

    /// Takes a handler away.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.write(name, b"-1")
    }
}

fn escaped(bytes: &[u8; HEADER]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

impl Handler {
    /// Reads the text that the kernel has for one; none for those that go by the file's name.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let mut handler = Handler { name: name.to_owned(), ..Handler::default() };
        for line in text.lines() {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("enabled", _) => handler.enabled = true,
                ("flags:", flags) => handler.held_open = flags.contains('F'),
                ("offset", offset) => handler.offset = offset.parse().ok()?,
                ("magic", magic) => handler.magic = hex::decode(magic).ok()?,
                ("mask", mask) => handler.mask = hex::decode(mask).ok()?,
                _ => {}
            }
        }
        (!handler.magic.is_empty()).then_some(handler)
    }

    /// Whether it runs a machine's programs in any container.
    pub fn runs(&self, machine: &Machine) -> bool {
        let header = machine.magic();
        let Some(program) = header.get(self.offset..) else { return false };
        let mask = |n: usize| self.mask.get(n).copied().unwrap_or(0xff);
        let same = |(n, byte): (usize, &u8)| program.get(n).is_some_and(|of| (of ^ byte) & mask(n) == 0);
        self.enabled && self.held_open && self.magic.iter().enumerate().all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: POCF\noffset 0\n\
                        magic 7f454c460201010000000000000000000200b700\n\
                        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn a_handler_is_read_as_the_kernel_writes_it() {
        let arm64 = Machine::of("arm64").unwrap();
        let runs = |text: &str, architecture: &str| {
            let handler = Handler::parse("qemu", text).unwrap();
            handler.runs(Machine::of(architecture).unwrap())
        };
        assert!(runs(HELD, "arm64") && !runs(HELD, "riscv64") && !runs(HELD, "s390x"));
        assert!(!runs(&HELD.replace("enabled", "disabled"), "arm64"));
        assert!(!runs(&HELD.replace("POCF", "OC"), "arm64"), "its program is not there in a container");
        assert_eq!(Handler::parse("x", "enabled\ninterpreter /x\nflags: \nextension .x\n"), None);
        assert_eq!(escaped(&arm64.magic())[..16], *"\\x7f\\x45\\x4c\\x46");
    }
}
