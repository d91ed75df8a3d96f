//! Mount options: from the words of fstab and the OCI specification to attributes, without any I/O.

use dray_sys::mount::{MountAttr, attr};

/// `MS_*` propagation bits.
const SHARED: u64 = 1 << 20;
const SLAVE: u64 = 1 << 19;
const PRIVATE: u64 = 1 << 18;
const UNBINDABLE: u64 = 1 << 17;

/// What the options of one mount mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Bind: `Some(true)` with everything mounted below.
    pub bind: Option<bool>,
    /// Attributes of the mount.
    pub attrs: MountAttr,
    /// Attributes of it and of everything below.
    pub recursive: MountAttr,
    /// Propagations in their order, and whether each is for everything below too.
    pub propagation: Vec<(u64, bool)>,
    /// What the file system itself takes.
    pub data: Vec<String>,
    /// Fill a tmpfs with what the image has there.
    pub copy_up: bool,
    /// Map ids; `true` for everything below too.
    pub id_map: Option<bool>,
}

/// Attribute words: name, bits, whether it sets them.
const ATTRIBUTES: [(&str, u64, bool); 16] = [
    ("ro", attr::RDONLY, true),
    ("rw", attr::RDONLY, false),
    ("nosuid", attr::NOSUID, true),
    ("suid", attr::NOSUID, false),
    ("nodev", attr::NODEV, true),
    ("dev", attr::NODEV, false),
    ("noexec", attr::NOEXEC, true),
    ("exec", attr::NOEXEC, false),
    ("noatime", attr::NOATIME, true),
    ("atime", attr::NOATIME, false),
    ("strictatime", attr::STRICTATIME, true),
    ("nostrictatime", attr::STRICTATIME, false),
    ("nodiratime", attr::NODIRATIME, true),
    ("diratime", attr::NODIRATIME, false),
    ("nosymfollow", attr::NOSYMFOLLOW, true),
    ("symfollow", attr::NOSYMFOLLOW, false),
];

impl Options {
    /// Reads the options of one mount.
    pub fn parse(words: &[String]) -> Options {
        let mut options = Options::default();
        for word in words {
            options.add(word);
        }
        options
    }

    fn add(&mut self, word: &str) {
        if let Some((_, bits, set)) = ATTRIBUTES.iter().find(|(name, ..)| *name == word) {
            change(&mut self.attrs, *bits, *set);
        } else if let Some((_, bits, set)) =
            word.strip_prefix('r').and_then(|rest| ATTRIBUTES.iter().find(|(name, ..)| *name == rest))
        {
            change(&mut self.recursive, *bits, *set);
        } else {
            self.add_other(word);
        }
    }

    fn add_other(&mut self, word: &str) {
        match word {
            "bind" => self.bind = self.bind.or(Some(false)),
            "rbind" => self.bind = Some(true),
            "shared" => self.propagation.push((SHARED, false)),
            "rshared" => self.propagation.push((SHARED, true)),
            "slave" => self.propagation.push((SLAVE, false)),
            "rslave" => self.propagation.push((SLAVE, true)),
            "private" => self.propagation.push((PRIVATE, false)),
            "rprivate" => self.propagation.push((PRIVATE, true)),
            "unbindable" => self.propagation.push((UNBINDABLE, false)),
            "runbindable" => self.propagation.push((UNBINDABLE, true)),
            "relatime" => change(&mut self.attrs, attr::ATIME, false),
            "rrelatime" => change(&mut self.recursive, attr::ATIME, false),
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            "tmpcopyup" => self.copy_up = true,
            // No meaning to the kernel, or the kernel's own default.
            "defaults" | "remount" | "norelatime" | "rnorelatime" | "async" | "loud" | "silent" | "" => {}
            "Z" | "z" | "U" => {}
            data => self.data.push(data.to_owned()),
        }
    }

    /// Options of the file system as borrowed strings.
    pub fn data(&self) -> Vec<&str> {
        self.data.iter().map(String::as_str).collect()
    }
}

fn change(attrs: &mut MountAttr, bits: u64, set: bool) {
    if bits & attr::ATIME != 0 || bits == attr::ATIME {
        // The access time modes are one field: it is cleared before it is set.
        attrs.set &= !attr::ATIME;
        attrs.clear |= attr::ATIME;
        if set {
            attrs.set |= bits;
        }
    } else if set {
        attrs.set |= bits;
        attrs.clear &= !bits;
    } else {
        attrs.set &= !bits;
        attrs.clear |= bits;
    }
}

/// Propagation bits of a root mount, and whether they are for everything below.
pub fn root_propagation(kind: dray_spec::runtime::MountPropagation) -> (u64, bool) {
    use dray_spec::runtime::MountPropagation as P;
    match kind {
        P::Shared => (SHARED, false),
        P::Rshared => (SHARED, true),
        P::Slave => (SLAVE, false),
        P::Rslave => (SLAVE, true),
        P::Private => (PRIVATE, false),
        P::Rprivate => (PRIVATE, true),
        P::Unbindable => (UNBINDABLE, false),
        P::Runbindable => (UNBINDABLE, true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(&words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn binds_and_their_attributes() {
        let options = parse(&["rbind", "ro", "rprivate"]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.attrs.set, attr::RDONLY);
        assert_eq!(options.recursive, MountAttr::default());
        assert_eq!(options.propagation, [(PRIVATE, true)]);
        assert_eq!(parse(&["rbind", "rro"]).recursive.set, attr::RDONLY);
    }

    #[test]
    fn the_last_word_wins_and_the_rest_is_data() {
        let options = parse(&["nosuid", "ro", "rw", "strictatime", "mode=755", "size=65536k"]);
        assert_eq!(options.attrs.set, attr::NOSUID | attr::STRICTATIME);
        assert_eq!(options.attrs.clear, attr::RDONLY | attr::ATIME);
        assert_eq!(options.data(), ["mode=755", "size=65536k"]);
        assert_eq!(parse(&["relatime"]).attrs, MountAttr { clear: attr::ATIME, ..MountAttr::default() });
    }
}
