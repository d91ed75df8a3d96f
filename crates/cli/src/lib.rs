//! The commands: docker's command line, over the Engine API.
//!
//! ```text
//! main ── global flags ── the command's table entry ── its flags ── its function
//!  │        app.rs           command/mod.rs             flag/         command/<noun>/<verb>.rs
//!  └─ error → words and exit code: command_error.rs
//! ```
//! Nothing is set up before the command is known: the tables of commands and flags are constants, the runtime has
//! one thread, the daemon is spoken to without a ping.

mod app;
mod build_context;
mod build_session;
mod builder;
mod command;
mod command_error;
mod config_file;
mod connect;
mod context;
mod credential;
mod flag;
mod format;
mod help;
mod interrupts;
mod json;
mod opts;
mod pack;
mod plugin;
mod progress;
mod spec;
mod stdio;
mod template;
mod terminal;
mod unpack;
mod value;
mod whole_file;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use app::App;
use command_error::Error;

/// Runs the command that `args` (with the program's name) asks for. `commit` is what the program is built of, where
/// that is known.
pub fn main(args: Vec<OsString>, commit: Option<&'static str>) -> ExitCode {
    let mut args = args.into_iter();
    let name = called_as(args.next());
    let code = match dispatch(&name, commit, args.collect()) {
        Ok(code) => code,
        Err(error) => {
            if let Some(words) = error.words() {
                use std::io::Write as _;
                // Nothing is left to tell that standard error is gone.
                let _ = writeln!(std::io::stderr().lock(), "{words}");
            }
            error.code()
        }
    };
    terminal::restore_now();
    ExitCode::from(code)
}

/// `docker` if it is called so, `dray` by any other name.
fn called_as(arg0: Option<OsString>) -> String {
    let name = arg0.as_deref().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|n| n == "docker") { "docker".into() } else { "dray".into() }
}

fn dispatch(name: &str, commit: Option<&'static str>, args: Vec<OsString>) -> Result<u8, Error> {
    if args.first().is_some_and(|a| a == connect::BECOME_DAEMON) {
        return Err(connect::become_daemon());
    }
    let globals = match flag::parse(&[app::GLOBAL], false, args) {
        Ok(globals) => globals,
        Err(flag::Error::Help) => return help::program(name),
        Err(e) => {
            let usage = format!("{name} [OPTIONS] COMMAND [ARG...]");
            return Err(Error::Flag { text: e.to_string(), usage, command: name.to_owned() });
        }
    };
    let words = globals.raw_args.clone();
    let mut app = App::new(name, commit, globals);
    if app.globals.is("version") {
        return command::version::short(&app);
    }
    let Some(word) = words.first().map(|w| w.to_string_lossy().into_owned()) else {
        return help::program(name);
    };
    if word == "help" {
        return help::of(name, &words[1..]);
    }
    match command::find(&word) {
        Some(command::Entry::Command(found)) => {
            app.called = format!("{name} {word}");
            run(&mut app, found, &[], words[1..].to_vec())
        }
        Some(command::Entry::Group(group)) => match plugin::find(&app, &word) {
            // Docker's own buildx knows more than what stands in for it.
            Some(path) if word == command::buildx::GROUP.name => Err(plugin::become_it(&app, &path, &words)),
            _ => in_group(&mut app, group, &words[1..]),
        },
        None => match plugin::find(&app, &word) {
            Some(path) => Err(plugin::become_it(&app, &path, &words)),
            None if command::absent::reason(&word).is_some() => {
                let why = command::absent::reason(&word).unwrap_or_default();
                Err(Error::Refused(format!("{name}: '{name} {word}' is not there: {why}")))
            }
            None => Err(Error::UnknownCommand {
                app: name.to_owned(),
                command: format!("{name} {word}"),
                usage: String::new(),
                parent: name.to_owned(),
            }),
        },
    }
}

fn in_group(app: &mut App, group: &'static spec::Group, words: &[OsString]) -> Result<u8, Error> {
    let parent = format!("{} {}", app.name, group.name);
    let flags = command::group_flags(group);
    if !flags.is_empty() {
        // The table is a constant, but the parser wants a table of tables.
        app.group = match flag::parse(&[command::compose::FLAGS], false, words.to_vec()) {
            Ok(parsed) => parsed,
            Err(flag::Error::Help) => return help::group(&app.name, group),
            Err(e) => {
                let usage = format!("{parent} [OPTIONS] COMMAND");
                return Err(Error::Flag { text: e.to_string(), usage, command: parent });
            }
        };
    }
    let left = app.group.raw_args.clone();
    let words = if flags.is_empty() { words } else { &left };
    let version = || app.group.is("version").then(|| "version".to_owned());
    let Some(word) = words.first().map(|w| w.to_string_lossy().into_owned()).or_else(version) else {
        return help::group(&app.name, group);
    };
    if word == "--help" || word == "-h" || word == "help" {
        return help::group(&app.name, group);
    }
    if word.starts_with('-') {
        let text = match word.strip_prefix("--") {
            Some(long) => format!("unknown flag: --{}", long.split('=').next().unwrap_or(long)),
            None => format!("unknown shorthand flag: '{}' in {word}", word.chars().nth(1).unwrap_or('-')),
        };
        return Err(Error::Flag { text, usage: format!("{parent} COMMAND"), command: parent });
    }
    if let Some((_, inner)) = command::inner(group).find(|(name, _)| *name == word) {
        return in_group(app, inner, words.get(1..).unwrap_or_default());
    }
    let persistent = command::persistent_flags(group);
    // A command may have one below it.
    let below = words.get(1).map(|next| format!("{word} {}", next.to_string_lossy()));
    if let Some(found) = group.commands.iter().find(|c| below.as_deref() == Some(c.name)) {
        app.called = format!("{parent} {}", found.name);
        return run(app, found, persistent, words.get(2..).unwrap_or_default().to_vec());
    }
    let Some(found) = group.commands.iter().find(|c| c.is_called(&word)) else {
        return Err(Error::UnknownCommand {
            app: app.name.clone(),
            command: format!("{parent} {word}"),
            usage: format!("Usage:  {parent}\n\n"),
            parent,
        });
    };
    app.called = format!("{parent} {word}");
    run(app, found, persistent, words.get(1..).unwrap_or_default().to_vec())
}

/// Runs a command, which takes the `persistent` flags of its group beside its own.
fn run(
    app: &mut App,
    command: &'static spec::Command,
    persistent: &'static [flag::Flag],
    words: Vec<OsString>,
) -> Result<u8, Error> {
    let known = command.flags.iter().flat_map(|flags| flags.iter()).chain(persistent).collect();
    let parsed = match flag::parse_with(known, command.interspersed, words) {
        Ok(parsed) => parsed,
        Err(flag::Error::Help) => return help::command(app, command, persistent),
        Err(e) => {
            let usage = command.usage_text(&app.called);
            return Err(Error::Flag { text: e.to_string(), usage, command: app.called.clone() });
        }
    };
    app.group.take_over(persistent, &parsed);
    command.check_args(&app.name, &app.called, parsed.args.len())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::io("set up the event loop"))?;
    let done = runtime.block_on((command.run)(app, parsed));
    // A read of standard input that is still under way must not keep the program.
    runtime.shutdown_background();
    done
}
