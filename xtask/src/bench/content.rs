//! The images that are moved: how large, in how many layers, of how many files.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// How many of a layer's small files are in one folder.
const IN_A_FOLDER: usize = 100;

/// What an image is made of, upon busybox.
pub struct Content {
    /// What figures call it.
    pub name: &'static str,
    /// Layers of large files.
    large_layers: usize,
    /// MiB in each of them, in files of 16.
    mebibytes: u64,
    /// Layers of small files.
    small_layers: usize,
    /// Files in each of them, of some 8 KiB.
    files: usize,
    /// Whether the large files compress by a quarter, as programs and libraries do, instead of hardly at all.
    compressible: bool,
}

/// One layer of large files that hardly compress, three of many small ones.
pub const MIXED: Content = Content {
    name: "300 MB and 15,000 files",
    large_layers: 1,
    mebibytes: 200,
    small_layers: 3,
    files: 5_000,
    compressible: false,
};

/// Large files alone.
pub const LARGE: Content = Content {
    name: "1 GB in 8 layers",
    large_layers: 8,
    mebibytes: 128,
    small_layers: 0,
    files: 0,
    compressible: true,
};

/// Small files alone.
pub const SMALL: Content = Content {
    name: "60,000 small files",
    large_layers: 0,
    mebibytes: 0,
    small_layers: 4,
    files: 15_000,
    compressible: false,
};

impl Content {
    /// Whether small files are part of it.
    pub fn is_many_files(&self) -> bool {
        self.small_layers > 0
    }

    /// Writes it as a build context; `seed` makes its layers its own.
    pub fn write(&self, folder: &Path, seed: &str) -> Result<()> {
        let mut text = "FROM busybox\n".to_owned();
        for layer in 0..self.large_layers + self.small_layers {
            let root = folder.join(format!("layer{layer}"));
            fs::create_dir_all(&root)?;
            text.push_str(&format!("COPY layer{layer} /l{layer}\n"));
            if layer < self.large_layers { self.write_large(&root)? } else { self.write_small(&root, seed)? }
        }
        fs::write(folder.join("Dockerfile"), text).context("Dockerfile")
    }

    fn write_large(&self, root: &Path) -> Result<()> {
        const FILE: usize = 16 << 20;
        let mut random = fs::File::open("/dev/urandom")?;
        let mut bytes = vec![0; FILE];
        for n in 0..(self.mebibytes << 20).div_ceil(FILE as u64) {
            random.read_exact(&mut bytes)?;
            if self.compressible {
                bytes.iter_mut().for_each(|byte| *byte &= 0x3f);
            }
            fs::File::create(root.join(format!("large{n}")))?.write_all(&bytes)?;
        }
        Ok(())
    }

    fn write_small(&self, root: &Path, seed: &str) -> Result<()> {
        let layer = root.display().to_string();
        for n in 0..self.files {
            let sub = root.join(format!("{}", n / IN_A_FOLDER));
            if n % IN_A_FOLDER == 0 {
                fs::create_dir_all(&sub)?;
            }
            let text = format!("file {n} of {}, {seed}\n", layer.rsplit('/').next().unwrap_or_default());
            fs::write(sub.join(format!("{n}")), text.repeat(300))?;
        }
        Ok(())
    }
}
