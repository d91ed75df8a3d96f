//! The machines that QEMU plays, and how their programs are known: by class, byte order and machine of the ELF header.

/// A machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// Go's name for it, as platforms have it.
    pub architecture: &'static str,
    /// QEMU's.
    pub qemu: &'static str,
    /// 64-bit rather than 32-bit.
    wide: bool,
    big_endian: bool,
    /// `e_machine`.
    number: u16,
}

/// How much of a program is looked at.
pub(super) const HEADER: usize = 20;

const fn little(architecture: &'static str, qemu: &'static str, wide: bool, number: u16) -> Machine {
    Machine { architecture, qemu, wide, big_endian: false, number }
}

const fn big(architecture: &'static str, qemu: &'static str, number: u16) -> Machine {
    Machine { architecture, qemu, wide: true, big_endian: true, number }
}

/// All of them.
pub(super) const ALL: &[Machine] = &[
    little("amd64", "x86_64", true, 62),
    little("arm64", "aarch64", true, 183),
    little("arm", "arm", false, 40),
    little("386", "i386", false, 3),
    little("riscv64", "riscv64", true, 243),
    little("ppc64le", "ppc64le", true, 21),
    big("ppc64", "ppc64", 21),
    big("s390x", "s390x", 22),
    little("mips64le", "mips64el", true, 8),
    big("mips64", "mips64", 8),
    little("loong64", "loongarch64", true, 258),
];

impl Machine {
    /// The machine of an architecture.
    pub fn of(architecture: &str) -> Option<&'static Machine> {
        ALL.iter().find(|machine| machine.architecture == architecture)
    }

    /// How its programs begin.
    pub fn magic(&self) -> [u8; HEADER] {
        let mut magic = [0; HEADER];
        magic[..7].copy_from_slice(&[
            0x7f,
            b'E',
            b'L',
            b'F',
            if self.wide { 2 } else { 1 },
            if self.big_endian { 2 } else { 1 },
            1,
        ]);
        let of = |number: u16| if self.big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        magic[16..18].copy_from_slice(&of(EXECUTABLE));
        magic[18..20].copy_from_slice(&of(self.number));
        magic
    }

    /// Which bits of that count: not the ABI, and executables are also those that may lie anywhere.
    pub fn mask(&self) -> [u8; HEADER] {
        let mut mask = [0xff; HEADER];
        mask[7] = 0;
        mask[if self.big_endian { 17 } else { 16 }] = 0xfe;
        mask
    }
}

/// `ET_EXEC`; with the last bit set it is `ET_DYN`.
const EXECUTABLE: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_that_qemu_itself_registers() {
        let shown = |bytes: [u8; HEADER]| hex::encode(bytes);
        let arm64 = Machine::of("arm64").unwrap();
        assert_eq!(shown(arm64.magic()), "7f454c460201010000000000000000000200b700");
        assert_eq!(shown(arm64.mask()), "ffffffffffffff00fffffffffffffffffeffffff");
        let s390x = Machine::of("s390x").unwrap();
        assert_eq!(shown(s390x.magic()), "7f454c4602020100000000000000000000020016");
        assert_eq!(shown(s390x.mask()), "ffffffffffffff00fffffffffffffffffffeffff");
        let arm = Machine::of("arm").unwrap();
        assert_eq!(shown(arm.magic()), "7f454c4601010100000000000000000002002800");
        assert!(Machine::of("wasm").is_none());
    }
}
