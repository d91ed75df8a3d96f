//! Statements to typed instructions and stages: every rule that concerns one line.

use crate::dockerfile::error::{Fault, Located, ParseError};
use crate::dockerfile::flag::{Flags, Takes};
use crate::dockerfile::heredoc::{self, Heredoc};
use crate::dockerfile::instruction::{
    Add, ArgPair, Command, CommandLine, Copy, Instruction, KeyValue, RunCommand, Security, SourceFile,
};
use crate::dockerfile::logical::Reader;
use crate::dockerfile::mount::Mount;
use crate::dockerfile::suggest::closest;
use crate::dockerfile::syntax::{Args, Call, Statement, Word};
use crate::dockerfile::{Dockerfile, Stage, device, healthcheck};

const INSTRUCTIONS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Collects statements into stages.
#[derive(Default)]
pub(super) struct FileBuilder {
    global_args: Vec<Instruction>,
    stages: Vec<Stage>,
}

impl FileBuilder {
    pub(super) fn add(&mut self, statement: &Statement) -> Result<(), Located> {
        if statement.call.name.text.eq_ignore_ascii_case("FROM") {
            self.stages.push(from(statement)?);
            return Ok(());
        }
        let instruction = instruction(statement)?;
        match (self.stages.last_mut(), &instruction.command) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Command::Arg(_)) => self.global_args.push(instruction),
            (None, _) => return Err(Fault::NoBuildStage.at(statement.call.name.at.clone())),
        }
        Ok(())
    }

    pub(super) fn finish(self, reader: Reader<'_>) -> Result<Dockerfile, ParseError> {
        if self.stages.is_empty() {
            return Err(ParseError::whole_file(reader.name, Fault::NoStages));
        }
        Ok(Dockerfile {
            name: reader.name.to_owned(),
            escape: reader.escape(),
            text: reader.text().into(),
            syntax: reader.syntax(),
            check: reader.check(),
            global_args: self.global_args,
            stages: self.stages,
            warnings: reader.warnings,
            empty_continuations: reader.empty_continuations,
        })
    }
}

fn from(statement: &Statement) -> Result<Stage, Located> {
    let call = &statement.call;
    let words = words(call);
    let name = match words {
        [_] => None,
        [_, by, name] if by.text.eq_ignore_ascii_case("as") => Some(stage_name(name)?),
        [] => return Err(Fault::FromArguments.at(call.name.at.clone())),
        _ => return Err(Fault::FromArguments.at(call.args_at.clone())),
    };
    let flags = Flags::parse(&call.flags, &[("platform", Takes::One)])?;
    let alias = match words {
        [_, by, name] => Some((by.text.clone(), name.text.clone())),
        _ => None,
    };
    Ok(Stage {
        name,
        alias,
        keyword: call.name.text.clone(),
        comments: statement.line.comments.clone(),
        base: words[0].text.clone(),
        platform: flags.one("platform"),
        text: statement.line.text.trim().to_owned(),
        line: statement.line.first,
        last_line: statement.line.last,
        instructions: Vec::new(),
    })
}

fn stage_name(word: &Word) -> Result<String, Located> {
    let name = word.text.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if valid { Ok(name) } else { Err(Fault::StageName(word.text.clone()).at(word.at.clone())) }
}

/// Types an instruction that may stand in a stage.
pub(super) fn instruction(statement: &Statement) -> Result<Instruction, Located> {
    Ok(Instruction {
        command: command(statement)?,
        text: statement.line.text.trim().to_owned(),
        keyword: statement.call.name.text.clone(),
        comments: statement.line.comments.clone(),
        line: statement.line.first,
        last_line: statement.line.last,
    })
}

fn command(statement: &Statement) -> Result<Command, Located> {
    let call = &statement.call;
    let name = call.name.text.to_uppercase();
    Ok(match name.as_str() {
        "ADD" => Command::Add(add(call, &statement.heredocs)?),
        "ARG" => Command::Arg(arg(call)?),
        "CMD" => Command::Cmd(plain_command_line(call, &statement.heredocs)?),
        "COPY" => Command::Copy(copy(call, &statement.heredocs)?),
        "ENTRYPOINT" => Command::Entrypoint(plain_command_line(call, &statement.heredocs)?),
        "ENV" => Command::Env(key_values(call, "ENV")?),
        "EXPOSE" => Command::Expose(expose(call)?),
        "HEALTHCHECK" => Command::Healthcheck(healthcheck::interpret(call)?),
        "LABEL" => Command::Label(key_values(call, "LABEL")?),
        "MAINTAINER" => Command::Maintainer(exactly_one(call, "MAINTAINER")?),
        "ONBUILD" => Command::Onbuild(onbuild(statement)?),
        "RUN" => Command::Run(run(call, &statement.heredocs)?),
        "SHELL" => Command::Shell(shell(call)?),
        "STOPSIGNAL" => match words(call) {
            [word] => Command::StopSignal(word.text.clone()),
            _ => return Err(Fault::ExactlyOneArgument("STOPSIGNAL").at(place(call))),
        },
        "USER" => Command::User(exactly_one(call, "USER")?),
        "VOLUME" => Command::Volume(volume(call)?),
        "WORKDIR" => Command::Workdir(exactly_one(call, "WORKDIR")?),
        "FROM" => return Err(Fault::NotAllowedHere(name).at(call.name.at.clone())),
        _ => {
            let suggestion = closest(&call.name.text, &INSTRUCTIONS, true);
            let fault = Fault::UnknownInstruction { name: call.name.text.clone(), suggestion };
            return Err(fault.at(call.name.at.clone()));
        }
    })
}

/// The arguments if they are words, of a JSON array or not.
fn words(call: &Call) -> &[Word] {
    match &call.args {
        Args::Words(words) | Args::Json(words) => words,
        _ => &[],
    }
}

/// Where to point for a fault of the arguments: at them, or at the name if there are none.
fn place(call: &Call) -> std::ops::Range<usize> {
    if call.args_at.is_empty() { call.name.at.clone() } else { call.args_at.clone() }
}

fn no_flags(call: &Call) -> Result<(), Located> {
    Flags::parse(&call.flags, &[]).map(|_| ())
}

fn exactly_one(call: &Call, name: &'static str) -> Result<String, Located> {
    let [word] = words(call) else { return Err(Fault::ExactlyOneArgument(name).at(place(call))) };
    no_flags(call)?;
    Ok(word.text.clone())
}

fn at_least_one<'a>(call: &'a Call, name: &'static str) -> Result<&'a [Word], Located> {
    match words(call) {
        [] => Err(Fault::AtLeastOneArgument(name).at(place(call))),
        words => Ok(words),
    }
}

fn key_values(call: &Call, name: &'static str) -> Result<Vec<KeyValue>, Located> {
    no_flags(call)?;
    let pairs = match &call.args {
        Args::Pairs(pairs) if !pairs.is_empty() => pairs,
        _ => return Err(Fault::AtLeastOneArgument(name).at(place(call))),
    };
    if let Some(pair) = pairs.iter().find(|pair| pair.key.is_empty()) {
        return Err(Fault::BlankName(name).at(pair.at.clone()));
    }
    let pair = |pair: &crate::dockerfile::syntax::Pair| KeyValue {
        key: pair.key.clone(),
        value: pair.value.clone(),
        delimited: pair.delimited,
    };
    Ok(pairs.iter().map(pair).collect())
}

fn arg(call: &Call) -> Result<Vec<ArgPair>, Located> {
    let pair = |word: &Word| match word.text.split_once('=') {
        Some(("", _)) => Err(Fault::BlankName("ARG").at(word.at.clone())),
        Some((key, value)) => Ok(ArgPair { key: key.to_owned(), value: Some(value.to_owned()) }),
        None => Ok(ArgPair { key: word.text.clone(), value: None }),
    };
    at_least_one(call, "ARG")?.iter().map(pair).collect()
}

fn expose(call: &Call) -> Result<Vec<String>, Located> {
    let mut ports: Vec<String> = at_least_one(call, "EXPOSE")?.iter().map(|w| w.text.clone()).collect();
    no_flags(call)?;
    ports.sort();
    Ok(ports)
}

fn volume(call: &Call) -> Result<Vec<String>, Located> {
    let words = at_least_one(call, "VOLUME")?;
    no_flags(call)?;
    let path = |word: &Word| match word.text.trim() {
        "" => Err(Fault::EmptyVolume.at(word.at.clone())),
        path => Ok(path.to_owned()),
    };
    words.iter().map(path).collect()
}

fn shell(call: &Call) -> Result<Vec<String>, Located> {
    no_flags(call)?;
    let words = at_least_one(call, "SHELL")?;
    match &call.args {
        Args::Json(_) => Ok(words.iter().map(|word| word.text.clone()).collect()),
        _ => Err(Fault::NotJson("SHELL").at(place(call))),
    }
}

fn plain_command_line(call: &Call, heredocs: &[Heredoc]) -> Result<CommandLine, Located> {
    no_flags(call)?;
    Ok(command_line(call, heredocs))
}

fn command_line(call: &Call, heredocs: &[Heredoc]) -> CommandLine {
    CommandLine {
        words: words(call).iter().map(|word| word.text.clone()).collect(),
        shell: !matches!(call.args, Args::Json(_)),
        heredocs: heredocs.to_vec(),
    }
}

fn run(call: &Call, heredocs: &[Heredoc]) -> Result<RunCommand, Located> {
    let known =
        [("mount", Takes::Many), ("network", Takes::One), ("security", Takes::One), ("device", Takes::Many)];
    let flags = Flags::parse(&call.flags, &known)?;
    for (text, at) in flags.many("mount") {
        Mount::precheck(text).map_err(|error| Fault::Mount(error).at(at))?;
    }
    if let Some((mode, at)) = flags.located("network")
        && !["default", "none", "host"].contains(&mode)
    {
        return Err(Fault::NetworkMode(mode.to_owned()).at(at));
    }
    let security = match flags.located("security") {
        None | Some(("sandbox", _)) => Security::Sandbox,
        Some(("insecure", _)) => Security::Insecure,
        Some((mode, at)) => return Err(Fault::SecurityMode(mode.to_owned()).at(at)),
    };
    let device = |(text, at)| device::parse(text).map_err(|error| Fault::Device(error).at(at));
    let devices = flags.many("device").map(device).collect::<Result<_, _>>()?;
    Ok(RunCommand {
        line: command_line(call, heredocs),
        mounts: flags.texts("mount"),
        network: flags.one("network"),
        security,
        devices,
    })
}

/// Sources, files of heredocs, and destination.
fn sources(
    call: &Call,
    heredocs: &[Heredoc],
    name: &'static str,
) -> Result<(Vec<String>, Vec<SourceFile>, String), Located> {
    let opened = |word: &Word| heredoc::parse(&word.text).ok().flatten();
    let [words @ .., dest] = words(call) else { return Err(Fault::NoDestination(name).at(place(call))) };
    if opened(dest).is_some() {
        return Err(Fault::HeredocDestination(name).at(dest.at.clone()));
    }
    let (mut paths, mut files) = (Vec::new(), Vec::new());
    for word in words {
        match opened(word) {
            Some(opened) => {
                let read = heredocs.iter().rev().find(|heredoc| heredoc.name == opened.name);
                let content = read.map(Heredoc::text).unwrap_or_default();
                files.push(SourceFile { name: opened.name, content, expand: opened.expand });
            }
            None => paths.push(word.text.clone()),
        }
    }
    Ok((paths, files, dest.text.clone()))
}

fn copy(call: &Call, heredocs: &[Heredoc]) -> Result<Copy, Located> {
    if words(call).len() < 2 {
        return Err(Fault::NoDestination("COPY").at(place(call)));
    }
    let known = [
        ("chown", Takes::One),
        ("from", Takes::One),
        ("chmod", Takes::One),
        ("link", Takes::Bool),
        ("exclude", Takes::Many),
        ("parents", Takes::Bool),
    ];
    let flags = Flags::parse(&call.flags, &known)?;
    let (sources, files, dest) = sources(call, heredocs, "COPY")?;
    Ok(Copy {
        sources,
        files,
        dest,
        from: flags.one("from"),
        chown: flags.one("chown"),
        chmod: flags.one("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.texts("exclude"),
    })
}

fn add(call: &Call, heredocs: &[Heredoc]) -> Result<Add, Located> {
    if words(call).len() < 2 {
        return Err(Fault::NoDestination("ADD").at(place(call)));
    }
    let known = [
        ("chown", Takes::One),
        ("chmod", Takes::One),
        ("link", Takes::Bool),
        ("keep-git-dir", Takes::Bool),
        ("checksum", Takes::One),
        ("unpack", Takes::Bool),
        ("exclude", Takes::Many),
    ];
    let flags = Flags::parse(&call.flags, &known)?;
    let (sources, files, dest) = sources(call, heredocs, "ADD")?;
    Ok(Add {
        sources,
        files,
        dest,
        chown: flags.one("chown"),
        chmod: flags.one("chmod"),
        link: flags.switch("link").unwrap_or(false),
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: flags.one("checksum"),
        unpack: flags.switch("unpack"),
        exclude: flags.texts("exclude"),
    })
}

/// The text behind `ONBUILD`, heredocs included, to be parsed when a child image is built.
fn onbuild(statement: &Statement) -> Result<String, Located> {
    let call = &statement.call;
    let Args::Sub(inner) = &call.args else {
        return Err(Fault::AtLeastOneArgument("ONBUILD").at(call.name.at.clone()));
    };
    no_flags(call)?;
    match inner.name.text.to_uppercase().as_str() {
        "ONBUILD" => return Err(Fault::OnbuildChain.at(inner.name.at.clone())),
        name @ ("MAINTAINER" | "FROM") => {
            return Err(Fault::OnbuildTrigger(name.to_owned()).at(inner.name.at.clone()));
        }
        _ => {}
    }
    let mut text = statement.line.text[call.args_at.clone()].to_owned();
    for heredoc in &statement.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    Ok(text)
}
