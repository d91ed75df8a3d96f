//! Warnings as people know them: `WARN[0000] …` on a terminal, `time=… level=warning msg=…` elsewhere.

use crate::terminal;

/// Warns on standard error.
pub fn warn(text: &str) {
    if terminal::is_terminal(rustix::stdio::stderr()) {
        eprintln!("\x1b[33mWARN\x1b[0m[0000] {text}");
    } else {
        let now = crate::format::time::rfc3339_local(crate::format::time::now());
        eprintln!("time=\"{now}\" level=warning msg={text:?}");
    }
}
