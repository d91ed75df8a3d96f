//! A machine in QEMU, emulated in software: it runs everywhere, and everywhere alike.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// A machine that says nothing for so long hangs: its slowest test takes a part of that.
const SILENCE: Duration = Duration::from_secs(600);

/// How many of the kernel's last words an error brings.
const LAST_WORDS: usize = 100;

/// What a machine is made of.
pub struct Machine<'a> {
    pub kernel: &'a Path,
    pub initrd: &'a Path,
    pub root: &'a Path,
    pub load: &'a Path,
    /// For what it writes.
    pub folder: &'a Path,
}

impl Machine<'_> {
    /// Boots it and tells what its tests say, to their end.
    ///
    /// # Errors
    /// If the tests failed; with the kernel's last words if they came to no end.
    pub fn run(&self) -> Result<()> {
        let (console, status) = (self.folder.join("console"), self.folder.join("status"));
        let mut qemu = self.command(&console, &status);
        // What is written to the disks goes to files that have no name.
        qemu.env("TMPDIR", self.folder);
        let line = format!("{qemu:?}");
        let mut child = qemu.spawn().context(line)?;
        let heard = listen(&mut child);
        let _ = child.kill();
        let _ = child.wait();
        let words = || last_words(&console);
        heard.with_context(words)?;
        let status = fs::read_to_string(&status).unwrap_or_default();
        match status.trim() {
            "0" => Ok(()),
            "" => bail!("the virtual machine went down before the tests had ended\n{}", words()),
            status => bail!("tests in the virtual machine ended with exit status {status}\n{}", words()),
        }
    }

    fn command(&self, console: &Path, status: &Path) -> Command {
        let mut qemu = Command::new(PROGRAM);
        let disk =
            |image: &Path| format!("file={},format=raw,if=virtio,snapshot=on,cache=unsafe", image.display());
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max,la57=off", "-smp", "2", "-m", "3072"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(self.kernel)
            .arg("-initrd")
            .arg(self.initrd)
            // A panic ends the machine. Nothing attacks it: mitigations would cost half of its speed.
            .args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off audit=0"])
            .args(["-drive", &disk(self.root), "-drive", &disk(self.load)])
            // A network with nobody on it.
            .args(["-nic", "user,restrict=on,model=virtio-net-pci"])
            .args(["-device", "virtio-rng-pci"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-serial", "stdio"])
            .args(["-serial", &format!("file:{}", status.display())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        qemu
    }
}

const PROGRAM: &str =
    if cfg!(target_arch = "aarch64") { "qemu-system-aarch64" } else { "qemu-system-x86_64" };

/// Tells what the machine says until it is gone.
fn listen(child: &mut Child) -> Result<()> {
    let output = child.stdout.take().context("the output of QEMU")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    loop {
        match told.recv_timeout(SILENCE) {
            Ok(line) => println!("{}", String::from_utf8_lossy(&line).trim_end()),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("the virtual machine said nothing for {} s", SILENCE.as_secs())
            }
        }
    }
    let status = child.wait().context("waiting for QEMU")?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

fn last_words(console: &Path) -> String {
    let text = File::open(console).map(BufReader::new).map(|reader| {
        let lines = reader.split(b'\n').map_while(Result::ok);
        lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()).collect::<Vec<_>>()
    });
    let lines = text.unwrap_or_default();
    format!("--- its console\n{}", lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n"))
}
