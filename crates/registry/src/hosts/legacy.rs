//! Docker's form of a `certs.d` folder: authorities and client certificates as files.

use std::path::Path;

use super::{TlsSettings, invalid, pem};
use crate::error::Error;

/// Reads `*.crt` (authorities), `*.cert` and `*.key` (client certificates, which go together by name).
pub(super) fn read(folder: &Path) -> Result<TlsSettings, Error> {
    let mut tls = TlsSettings::default();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| invalid(folder, error))?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in &files {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.authorities.push(pem(file)?),
            Some("cert") => {
                let key = file.with_extension("key");
                if !files.contains(&key) {
                    let problem = format!(
                        "missing key {} for client certificate {}. CA certificates must use the extension .crt",
                        name(&key),
                        name(file)
                    );
                    return Err(invalid(file, problem));
                }
                tls.client.push((pem(file)?, pem(&key)?));
            }
            Some("key") => {
                let certificate = file.with_extension("cert");
                if !files.contains(&certificate) {
                    let problem =
                        format!("missing client certificate {} for key {}", name(&certificate), name(file));
                    return Err(invalid(file, problem));
                }
            }
            _ => {}
        }
    }
    Ok(tls)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_by_their_endings() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| std::fs::write(dir.path().join(name), name).unwrap();
        put("ca.crt");
        put("client.cert");
        put("notes.txt");
        let path = dir.path().join("client.cert");
        assert_eq!(
            read(dir.path()).unwrap_err().to_string(),
            format!(
                "{}: missing key client.key for client certificate client.cert. \
                 CA certificates must use the extension .crt",
                path.display()
            )
        );
        put("client.key");
        let tls = read(dir.path()).unwrap();
        assert_eq!((tls.authorities.len(), tls.client.len()), (1, 1));
        assert_eq!(tls.client[0].1.as_ref(), b"client.key");
        put("other.key");
        assert!(read(dir.path()).unwrap_err().to_string().contains("missing client certificate other.cert"));
    }
}
