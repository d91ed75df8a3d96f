//! Platforms: operating system, architecture, variant (`linux/arm64/v8`), by the names Go gives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::de::null_default;

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    #[serde(default, deserialize_with = "null_default")]
    pub architecture: String,
    /// `linux`, …
    #[serde(default, deserialize_with = "null_default")]
    pub os: String,
    /// Windows' build number.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features of the system that the image needs.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// `v7` of arm, `v8` of arm64, `v3` of amd64, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Why a text names no platform. The messages are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A part has other characters than letters, digits, `_`, `-` and `.`.
    #[error(
        "{part:?} is an invalid component of {platform:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component {
        /// The part.
        part: String,
        /// The whole text.
        platform: String,
    },
    /// One word that is neither a system nor an architecture.
    #[error("{0:?}: unknown operating system or architecture: invalid argument")]
    Unknown(String),
    /// More than three parts.
    #[error("{0:?}: cannot parse platform specifier: invalid argument")]
    Specifier(String),
}

impl Platform {
    /// A platform of these parts, normalised.
    #[must_use]
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant.unwrap_or(""));
        Self {
            architecture,
            os: os_name(os),
            os_version: None,
            os_features: Vec::new(),
            variant: (!variant.is_empty()).then_some(variant),
        }
    }

    /// The platform this program runs on.
    #[must_use]
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, host_architecture(), None)
    }

    /// Reads `os/arch[/variant]`, or one of them alone for the host's other part.
    ///
    /// # Errors
    /// If the text names no platform.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        for part in &parts {
            let valid =
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
            if !valid {
                return Err(PlatformError::Component { part: (*part).into(), platform: text.into() });
            }
        }
        match parts[..] {
            [one] => {
                if KNOWN_OS.contains(&os_name(one).as_str()) {
                    return Ok(Self::new(one, host_architecture(), None));
                }
                let (architecture, _) = normalise(one, "");
                match KNOWN_ARCHITECTURES.contains(&architecture.as_str()) {
                    true => Ok(Self::new(std::env::consts::OS, one, None)),
                    false => Err(PlatformError::Unknown(text.into())),
                }
            }
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(PlatformError::Specifier(text.into())),
        }
    }

    /// True if an image for `other` runs on this platform.
    #[must_use]
    pub fn accepts(&self, other: &Platform) -> bool {
        self.distance(other).is_some()
    }

    /// How far `other` is from this platform: 0 the same, more for a lower variant that still runs, none
    /// where it does not run.
    #[must_use]
    pub fn distance(&self, other: &Platform) -> Option<u32> {
        let (own_arch, own_variant) = normalise(&self.architecture, self.variant.as_deref().unwrap_or(""));
        let (arch, variant) = normalise(&other.architecture, other.variant.as_deref().unwrap_or(""));
        if os_name(&self.os) != os_name(&other.os) || own_arch != arch {
            return None;
        }
        let own = variant_rank(&arch, &own_variant)?;
        let theirs = variant_rank(&arch, &variant)?;
        own.checked_sub(theirs)
    }
}

/// The number of a variant within its architecture; none for a variant that is not known.
fn variant_rank(architecture: &str, variant: &str) -> Option<u32> {
    let base = match architecture {
        "arm64" => 8,
        "amd64" => 1,
        "arm" => 7,
        _ => return variant.is_empty().then_some(0),
    };
    if variant.is_empty() {
        return Some(base * 10);
    }
    let (major, minor) = variant.strip_prefix('v')?.split_once('.').unwrap_or((&variant[1..], "0"));
    Some(major.parse::<u32>().ok()?.checked_mul(10)? + minor.parse::<u32>().ok()?.min(9))
}

fn os_name(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "" => std::env::consts::OS.into(),
        "macos" => "darwin".into(),
        other => other.into(),
    }
}

/// Go's name for an architecture, and its variant with the default one left out.
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386" | "i486" | "i586" | "i686" | "x86", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("riscv64gc", variant) => ("riscv64", variant),
        ("powerpc64le", variant) => ("ppc64le", variant),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.into(), variant.into())
}

fn host_architecture() -> &'static str {
    match (std::env::consts::ARCH, cfg!(target_endian = "little")) {
        ("x86_64", _) => "amd64",
        ("aarch64", _) => "arm64",
        ("x86", _) => "386",
        ("powerpc64", true) => "ppc64le",
        ("powerpc64", false) => "ppc64",
        (other, _) => other,
    }
}

const KNOWN_OS: [&str; 9] =
    ["linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "plan9"];

const KNOWN_ARCHITECTURES: [&str; 12] = [
    "amd64", "arm64", "386", "arm", "ppc64le", "ppc64", "s390x", "riscv64", "mips64le", "mips64", "loong64",
    "wasm",
];

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_normalises() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("Linux/ARM64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/amd64/v3", "linux/amd64/v3"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), shown, "{text}");
        }
        assert_eq!(Platform::parse("arm64").unwrap().architecture, "arm64");
        assert_eq!(Platform::parse("linux").unwrap().architecture, Platform::host().architecture);
    }

    #[test]
    fn refuses_with_dockers_words() {
        for (text, part) in [
            ("nonsense", "\"nonsense\": unknown operating system or architecture: invalid argument"),
            ("linux/amd64/v1/x", "cannot parse platform specifier"),
            ("linux//v1", "is an invalid component of \"linux//v1\""),
            ("", "is an invalid component of"),
        ] {
            let error = Platform::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn host_accepts_itself_and_json_keeps_the_dotted_names() {
        let host = Platform::host();
        assert_eq!(host.distance(&host), Some(0));
        let windows: Platform =
            serde_json::from_str(r#"{"os":"windows","architecture":"amd64","os.version":"10.0"}"#).unwrap();
        assert_eq!(windows.os_version.as_deref(), Some("10.0"));
        assert!(!Platform::new("linux", "amd64", None).accepts(&windows));
    }

    #[test]
    fn odd_variants_do_not_match_nor_panic() {
        let wanted = Platform::new("linux", "arm64", None);
        for variant in ["x", "v", "v9", "\u{e9}", "v99999999999", "8v"] {
            let other = Platform { variant: Some(variant.into()), ..wanted.clone() };
            assert_eq!(wanted.distance(&other), None, "{variant}");
        }
    }
}
