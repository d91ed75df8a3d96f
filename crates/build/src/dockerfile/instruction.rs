//! The typed instructions of a stage.

use crate::dockerfile::healthcheck::Healthcheck;
use crate::dockerfile::heredoc::Heredoc;

/// An instruction with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does.
    pub command: Command,
    /// The line as written, continuations joined, without heredoc bodies.
    pub text: String,
    /// The instruction's name as written.
    pub keyword: String,
    /// The comments right above it, without `#`.
    pub comments: Vec<String>,
    /// First line, from 1.
    pub line: usize,
    /// Last line; heredoc bodies count.
    pub last_line: usize,
}

/// What an instruction does. Words are as written: variables are not expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `ADD`
    Add(Add),
    /// `ARG`
    Arg(Vec<ArgPair>),
    /// `CMD`
    Cmd(CommandLine),
    /// `COPY`
    Copy(Copy),
    /// `ENTRYPOINT`
    Entrypoint(CommandLine),
    /// `ENV`
    Env(Vec<KeyValue>),
    /// `EXPOSE`, sorted
    Expose(Vec<String>),
    /// `HEALTHCHECK`
    Healthcheck(Healthcheck),
    /// `LABEL`
    Label(Vec<KeyValue>),
    /// `MAINTAINER`
    Maintainer(String),
    /// `ONBUILD`, with the text of its trigger
    Onbuild(String),
    /// `RUN`
    Run(RunCommand),
    /// `SHELL`
    Shell(Vec<String>),
    /// `STOPSIGNAL`
    StopSignal(String),
    /// `USER`
    User(String),
    /// `VOLUME`
    Volume(Vec<String>),
    /// `WORKDIR`
    Workdir(String),
}

impl Command {
    /// The instruction's name in capitals.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Add(_) => "ADD",
            Command::Arg(_) => "ARG",
            Command::Cmd(_) => "CMD",
            Command::Copy(_) => "COPY",
            Command::Entrypoint(_) => "ENTRYPOINT",
            Command::Env(_) => "ENV",
            Command::Expose(_) => "EXPOSE",
            Command::Healthcheck(_) => "HEALTHCHECK",
            Command::Label(_) => "LABEL",
            Command::Maintainer(_) => "MAINTAINER",
            Command::Onbuild(_) => "ONBUILD",
            Command::Run(_) => "RUN",
            Command::Shell(_) => "SHELL",
            Command::StopSignal(_) => "STOPSIGNAL",
            Command::User(_) => "USER",
            Command::Volume(_) => "VOLUME",
            Command::Workdir(_) => "WORKDIR",
        }
    }
}

/// A pair of `ENV` or `LABEL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
    /// Whether `=` stood between them; else the value is the rest of the line.
    pub delimited: bool,
}

/// A name of `ARG`, perhaps with a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgPair {
    /// Name.
    pub key: String,
    /// Default.
    pub value: Option<String>,
}

/// The command of `RUN`, `CMD` or `ENTRYPOINT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// Program and arguments of the exec form; one word, or none, in shell form.
    pub words: Vec<String>,
    /// Whether the stage's shell goes in front.
    pub shell: bool,
    /// Heredocs of the line.
    pub heredocs: Vec<Heredoc>,
}

/// `RUN`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCommand {
    /// What to run.
    pub line: CommandLine,
    /// The values of `--mount`; see [`crate::dockerfile::Mount::parse`].
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Security,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// `RUN --device`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `vendor/class=name`, or what stands for it.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}

/// `RUN --security`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// As any container.
    #[default]
    Sandbox,
    /// Without restrictions.
    Insecure,
}

/// A file that a heredoc of `COPY` or `ADD` describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Name of the file.
    pub name: String,
    /// Content.
    pub content: String,
    /// Whether variables in it are expanded.
    pub expand: bool,
}

/// `COPY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Paths in the context, perhaps with wildcards.
    pub sources: Vec<String>,
    /// Files from heredocs.
    pub files: Vec<SourceFile>,
    /// Path in the image.
    pub dest: String,
    /// `--from`: a stage or an image instead of the context.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`: keep the directories of the sources.
    pub parents: bool,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
}

/// `ADD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Paths in the context or URLs.
    pub sources: Vec<String>,
    /// Files from heredocs.
    pub files: Vec<SourceFile>,
    /// Path in the image.
    pub dest: String,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// `--exclude` patterns.
    pub exclude: Vec<String>,
}
