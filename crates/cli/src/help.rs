//! `--help`: of the program, of a noun, of a command.

use std::ffi::OsString;
use std::fmt::Write as _;

use crate::app::{App, GLOBAL};
use crate::command::{self, Entry};
use crate::command_error::Error;
use crate::flag::{Flag, columns, flags_text};
use crate::spec::{Command, Group};

fn show(text: &str) -> Result<u8, Error> {
    use std::io::Write as _;
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(Error::io("write standard output"))?;
    Ok(0)
}

/// The program's own help.
///
/// # Errors
/// Nobody reads it.
pub fn program(name: &str) -> Result<u8, Error> {
    let mut out = format!("Usage:  {name} [OPTIONS] COMMAND\n\nContainers that start in milliseconds\n");
    section(
        &mut out,
        "Common Commands",
        command::COMMON.iter().filter_map(|n| command::find(n).map(|e| (*n, e.about()))),
    );
    section(&mut out, "Management Commands", command::GROUPS.iter().map(|g| (g.name, g.about)));
    let others = command::TOP.iter().filter(|(n, _)| !command::COMMON.contains(n));
    // Other faces of the binary; Docker's client lists none such.
    let faces: &[(&str, &str)] = match name {
        "docker" => &[],
        _ => &[("daemon", "Run the daemon"), ("registry", "Serve and look after a registry")],
    };
    section(&mut out, "Commands", others.map(|(n, c)| (*n, c.about)).chain(faces.iter().copied()));
    let _ = write!(out, "\nGlobal Options:\n{}", flags_text(GLOBAL.iter(), columns()));
    let _ = write!(out, "\nRun '{name} COMMAND --help' for more information on a command.\n");
    show(&out)
}

fn section<'a>(out: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut rows: Vec<_> = rows.collect();
    if title == "Commands" {
        rows.sort_unstable();
    }
    let _ = write!(out, "\n{title}:\n");
    for (name, about) in rows {
        let _ = writeln!(out, "  {name:<11} {about}");
    }
}

/// The help of a noun.
///
/// # Errors
/// Nobody reads it.
pub fn group(name: &str, group: &Group) -> Result<u8, Error> {
    let mut out = format!("Usage:  {name} {} COMMAND\n\n{}\n", group.name, group.about);
    let inner = command::inner(group).map(|(name, inner)| (name, inner.about));
    section(&mut out, "Commands", group.commands.iter().map(|c| (c.name, c.about)).chain(inner));
    let flags = command::group_flags(group);
    if !flags.is_empty() {
        let _ = write!(out, "\nOptions:\n{}", flags_text(flags.iter(), columns()));
    }
    let _ = write!(out, "\nRun '{name} {} COMMAND --help' for more information on a command.\n", group.name);
    show(&out)
}

/// The help of a command.
///
/// # Errors
/// Nobody reads it.
pub fn command(app: &App, command: &Command, persistent: &'static [Flag]) -> Result<u8, Error> {
    let mut out = format!("Usage:  {}\n\n{}\n", command.usage_text(&app.called), command.about);
    if !command.details.is_empty() {
        let _ = write!(out, "\n{}\n", command.details);
    }
    if command.also.len() > 1 {
        let names: Vec<String> = command.also.iter().map(|n| format!("{} {n}", app.name)).collect();
        let _ = write!(out, "\nAliases:\n  {}\n", names.join(", "));
    }
    let flags: Vec<&Flag> = command.flags.iter().flat_map(|f| f.iter()).chain(persistent).collect();
    if flags.iter().any(|f| !f.hidden) {
        let _ = write!(out, "\nOptions:\n{}", flags_text(flags.into_iter(), columns()));
    }
    show(&out)
}

/// `help`, `help ps`, `help container ls`.
///
/// # Errors
/// There is no such command.
pub fn of(name: &str, words: &[OsString]) -> Result<u8, Error> {
    let words: Vec<String> = words.iter().map(|w| w.to_string_lossy().into_owned()).collect();
    let unknown = || Error::UnknownCommand {
        app: name.to_owned(),
        command: format!("{name} {}", words.join(" ")),
        usage: String::new(),
        parent: name.to_owned(),
    };
    let Some(first) = words.first() else { return program(name) };
    let mut app = App::new(name, None, crate::flag::Parsed::default());
    app.called = format!("{name} {}", words.join(" "));
    match (command::find(first).ok_or_else(unknown)?, words.get(1)) {
        (Entry::Command(c), _) => command(&app, c, &[]),
        (Entry::Group(g), None) => group(name, g),
        (Entry::Group(g), Some(word)) => {
            let (g, word) = match (command::inner(g).find(|(name, _)| name == word), words.get(2)) {
                (Some((_, inner)), None) => return group(name, inner),
                (Some((_, inner)), Some(word)) => (inner, word),
                (None, _) => (g, word),
            };
            let found = g.commands.iter().find(|c| c.is_called(word)).ok_or_else(unknown)?;
            command(&app, found, crate::command::persistent_flags(g))
        }
    }
}
