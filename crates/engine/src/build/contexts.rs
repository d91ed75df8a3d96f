//! Named contexts that come with the main one, in one archive.
//!
//! ```text
//! context/…    the main one, if any named one is a directory
//! <folder>/…   local:<folder>
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use dray_build::{Cancel, ContextDir, ContextSource, Contexts, NamedContextError};

use super::Error;

/// Where the main context is in an archive of several.
const MAIN: &str = "context";
const LOCAL: &str = "local:";

/// Directories of one archive.
struct Parts(ContextDir);

impl ContextSource for Parts {
    fn directory(&self, name: &str, shown: &str, _: &Cancel) -> Result<ContextDir, NamedContextError> {
        self.0.part(name).map_err(|_| NamedContextError::NoDirectory(shown.to_owned()))
    }
}

/// Parts an archive, once unpacked, into the main context and the others.
pub(super) fn parted(
    named: BTreeMap<String, String>,
    whole: ContextDir,
) -> Result<(ContextDir, Contexts), Error> {
    if !has_directories(&named) {
        return Ok((whole, Contexts::new(named, None)));
    }
    let main = whole.part(MAIN)?;
    Ok((main, Contexts::new(named, Some(Arc::new(Parts(whole))))))
}

/// Contexts beside one that does not come in the archive.
pub(super) fn beside<R: Read>(
    named: BTreeMap<String, String>,
    archive: R,
    unpack: impl FnOnce(R) -> Result<ContextDir, Error>,
) -> Result<Contexts, Error> {
    if !has_directories(&named) {
        return Ok(Contexts::new(named, None));
    }
    Ok(of_parts(named, unpack(archive)?))
}

/// Contexts of an archive that holds nothing else.
pub(super) fn of_parts(named: BTreeMap<String, String>, whole: ContextDir) -> Contexts {
    Contexts::new(named, Some(Arc::new(Parts(whole))))
}

fn has_directories(named: &BTreeMap<String, String>) -> bool {
    named.values().any(|value| value.starts_with(LOCAL))
}
