//! `context export` and `context import`: a context as a tar, `meta.json` and `tls/<endpoint>/<file>`.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;

use super::keep;
use crate::app::App;
use crate::command_error::{Error, Sys};
use crate::context::{self, Meta, TlsFiles};
use crate::flag::Parsed;
use crate::spec::{Args, Command, Done};

/// No archive of a context is longer.
const LONGEST: u64 = 10 << 20;
const META: &str = "meta.json";

/// `context export`
pub static EXPORT: Command = Command::new(
    "export",
    &["[OPTIONS] CONTEXT [FILE|-]"],
    Args::Range(1, 2),
    "Write a context as a tar archive",
    |a, p| Box::pin(export(a, p)),
);

/// `context import`
pub static IMPORT: Command = Command::new(
    "import",
    &["CONTEXT FILE|-"],
    Args::Exactly(2),
    "Take a context from a tar archive",
    |a, p| Box::pin(import(a, p)),
);

async fn export(app: &App, p: Parsed) -> Done {
    let name = p.args.first().map_or("", String::as_str);
    if name != context::DEFAULT {
        context::check_name(name)?;
    }
    let (meta, tls) = context::whole(app, name)?;
    let file = p.args.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
    let bytes = pack(&meta, &tls).map_err(Error::io("write the archive"))?;
    if file == "-" {
        if crate::terminal::is_terminal(std::io::stdout()) {
            let text = "cowardly refusing to export to a terminal, specify a file path";
            return Err(Error::Refused(text.into()));
        }
        app.print(bytes)?;
        return Ok(0);
    }
    let mut open = std::fs::OpenOptions::new();
    let mut out =
        open.write(true).create_new(true).mode(0o600).open(&file).map_err(Error::file("open", &file))?;
    out.write_all(&bytes).map_err(Error::file("write", &file))?;
    app.warn(format!("Written file {file:?}"));
    Ok(0)
}

fn pack(meta: &Meta, tls: &TlsFiles) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, mode, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes)
    };
    add(META, tar::EntryType::Regular, 0o644, &serde_json::to_vec(meta)?)?;
    if !tls.is_empty() {
        add("tls", tar::EntryType::Directory, 0o700, b"")?;
    }
    for (endpoint, files) in tls {
        add(&format!("tls/{endpoint}"), tar::EntryType::Directory, 0o700, b"")?;
        for (name, bytes) in files {
            add(&format!("tls/{endpoint}/{name}"), tar::EntryType::Regular, 0o600, bytes)?;
        }
    }
    tar.into_inner()
}

async fn import(app: &App, p: Parsed) -> Done {
    let [name, file] = p.args.as_slice() else { return Ok(1) };
    context::check_name(name)?;
    if context::exists(app, name) {
        return Err(Error::Refused(format!("context {name:?} already exists")));
    }
    let mut bytes = Vec::new();
    let read = match file.as_str() {
        "-" => std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::io("read")),
        path => {
            let file = std::fs::File::open(path).map_err(Error::file("open", path))?;
            file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(Error::file("read", path))
        }
    };
    read?;
    let (mut meta, tls) = unpack(&bytes)?;
    meta.name.clone_from(name);
    keep(app, &meta, Some(&tls), "imported")
}

fn unpack(bytes: &[u8]) -> Result<(Meta, TlsFiles), Error> {
    let refuse = |text: String| Error::Refused(text);
    let failed = |e: std::io::Error| Error::Refused(Sys(e).to_string());
    if bytes.len() as u64 > LONGEST {
        return Err(refuse(format!(
            "read exceeds the defined limit: a context has no more than {LONGEST} bytes"
        )));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(refuse("contexts in zip files are not read: make a tar of it".into()));
    }
    // Docker's archives end with the last byte of the last file: without what fills its block, or an end.
    let whole = bytes.len().next_multiple_of(512) - bytes.len();
    let filled = bytes.chain(std::io::repeat(0).take(whole as u64 + 1024));
    let (mut meta, mut tls) = (None, TlsFiles::new());
    for entry in tar::Archive::new(filled).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        if entry.header().entry_type() == tar::EntryType::Directory {
            continue;
        }
        let path = entry.path().map_err(failed)?.to_string_lossy().into_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let simple = |part: &&str| !matches!(*part, "" | "." | "..");
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(failed)?;
        match parts.as_slice() {
            [META] => {
                let parsed: Meta = serde_json::from_slice(&content)
                    .map_err(|source| Error::Json { what: META.into(), source })?;
                meta = Some(parsed);
            }
            ["tls", rest @ ..] if rest.len() == 2 && rest.iter().all(simple) => {
                tls.entry(rest[0].into()).or_default().insert(rest[1].into(), content);
            }
            _ => return Err(refuse(format!("{path}: unexpected context file"))),
        }
    }
    let meta = meta.ok_or_else(|| refuse("invalid context: no metadata found".into()))?;
    Ok((meta, tls))
}
