//! `completion`: scripts that complete commands and flags, made from the tables of both.

use clap_complete::Shell;

use crate::app::{App, GLOBAL};
use crate::command::{GROUPS, TOP, group_flags, inner};
use crate::command_error::Error;
use crate::flag::{Flag, Kind, Parsed};
use crate::spec::{Args, Command, Done};

/// `completion`
pub static COMMAND: Command = Command::new(
    "completion",
    &["bash|zsh|fish"],
    Args::Exactly(1),
    "Print a script that completes commands in a shell",
    |a, p| Box::pin(run(a, p)),
);

async fn run(app: &App, p: Parsed) -> Done {
    let shell = match p.args[0].as_str() {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        other => {
            return Err(Error::Refused(format!(
                "unknown shell: {other}: must be one of \"bash\", \"zsh\" or \"fish\""
            )));
        }
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree(&app.name), &app.name, &mut script);
    app.print(script)?;
    Ok(0)
}

/// The commands as a clap tree.
fn tree(name: &str) -> clap::Command {
    let name = if name == "docker" { "docker" } else { "dray" };
    let mut root = with_flags(clap::Command::new(name), GLOBAL.iter());
    for group in GROUPS {
        let commands = group.commands.iter().map(|c| leaf(c.name, c));
        let noun = with_flags(clap::Command::new(group.name).about(group.about), group_flags(group).iter());
        let inner = inner(group).map(|(name, inner)| {
            // One below another command is no word of its own.
            let words = inner.commands.iter().filter(|c| !c.name.contains(' '));
            let commands = words.map(|c| leaf(c.name, c));
            with_flags(clap::Command::new(name).about(inner.about), [].iter()).subcommands(commands)
        });
        root = root.subcommand(noun.subcommands(commands).subcommands(inner));
    }
    root.subcommands(TOP.iter().map(|(name, c)| leaf(name, c)))
        .subcommand(clap::Command::new("daemon").about("Run the daemon"))
}

fn leaf(name: &'static str, command: &'static Command) -> clap::Command {
    let flags = command.flags.iter().flat_map(|f| f.iter());
    with_flags(clap::Command::new(name).about(command.about), flags)
        .arg(clap::Arg::new("args").num_args(0..).value_hint(clap::ValueHint::AnyPath))
}

fn with_flags(command: clap::Command, flags: impl Iterator<Item = &'static Flag>) -> clap::Command {
    let command = command.disable_help_flag(true).disable_version_flag(true).disable_help_subcommand(true);
    command.args(flags.filter(|f| !f.hidden && f.long != "help").map(|f| {
        let action = match f.kind {
            Kind::Switch => clap::ArgAction::SetTrue,
            Kind::One => clap::ArgAction::Set,
            Kind::Many | Kind::Commas => clap::ArgAction::Append,
        };
        clap::Arg::new(f.long).long(f.long).short(f.short).action(action).help(f.about)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_make_a_sound_tree() {
        tree("dray").debug_assert();
    }

    #[test]
    fn scripts_know_commands_and_flags() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut tree("dray"), "dray", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["container", "publish", "network"] {
                assert!(script.contains(word), "{shell} {word}");
            }
        }
    }
}
