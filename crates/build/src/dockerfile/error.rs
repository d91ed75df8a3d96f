//! What can be wrong with a Dockerfile, and how it is shown.

use std::fmt;
use std::ops::Range;

use crate::dockerfile::device::DeviceError;
use crate::dockerfile::mount::MountError;
use crate::dockerfile::suggest::did_you_mean;
use crate::expand::ExpandError;

/// A fault at its place. Displayed as Docker's sentence, then the place with the source line and a caret:
///
/// ```text
/// dockerfile parse error on line 3: unknown instruction: FORM (did you mean FROM?)
///  --> Dockerfile:3:1
///   |
/// 3 | FORM busybox
///   | ^^^^
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Name of the Dockerfile.
    pub file: String,
    /// Line of the fault, from 1; 0 if the whole file is meant.
    pub line: usize,
    /// Column of the fault in characters, from 1.
    pub column: usize,
    /// How many characters are faulty.
    pub width: usize,
    /// The line itself.
    pub source_line: String,
    /// Line where the instruction begins.
    pub instruction_line: usize,
    /// What is wrong.
    pub fault: Box<Fault>,
}

impl ParseError {
    pub(super) fn empty(file: &str) -> Self {
        Self::whole_file(file, Fault::Empty { name: file.to_owned() })
    }

    pub(super) fn whole_file(file: &str, fault: Fault) -> Self {
        ParseError {
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 0,
            source_line: String::new(),
            instruction_line: 0,
            fault: Box::new(fault),
        }
    }

    /// The lines from the instruction's first to that of the fault; none if the whole file is meant.
    pub fn lines(&self) -> Option<(usize, usize)> {
        match (self.line, self.instruction_line) {
            (0, _) => None,
            (line, 0) => Some((line, line)),
            (line, first) => Some((first.min(line), line)),
        }
    }

    /// The sentence as BuildKit has it: without the file's name.
    pub fn reason(&self) -> String {
        match self.fault.phase() {
            Phase::Bare | Phase::Syntax => self.fault.to_string(),
            Phase::Instruction => self.message(),
        }
    }

    /// Docker's sentence, without the place.
    pub fn message(&self) -> String {
        match self.fault.phase() {
            Phase::Bare => self.fault.to_string(),
            Phase::Syntax => format!("failed to parse {}: {}", self.file, self.fault),
            Phase::Instruction => {
                format!("dockerfile parse error on line {}: {}", self.instruction_line, self.fault)
            }
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        if self.line == 0 {
            return Ok(());
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands under the word however wide they are shown.
        let indent: String = self
            .source_line
            .chars()
            .take(self.column.saturating_sub(1))
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let carets = "^".repeat(self.width.max(1));
        write!(f, "\n{margin}--> {}:{}:{}\n{margin} |\n", self.file, self.line, self.column)?;
        write!(f, "{number} | {}\n{margin} | {indent}{carets}", self.source_line)
    }
}

impl std::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.fault.as_ref())
    }
}

/// What is wrong with a line, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file of length 0.
    #[error("the Dockerfile ({name}) cannot be empty")]
    Empty {
        /// Name of the file.
        name: String,
    },
    /// Comments and blank lines only.
    #[error("file with no instructions")]
    NoInstructions,
    /// An instruction other than `ARG` before the first `FROM`.
    #[error("no build stage in current context")]
    NoBuildStage,
    /// Arguments only.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// A word that is no instruction.
    #[error("unknown instruction: {name}{}", did_you_mean(.suggestion))]
    UnknownInstruction {
        /// The word.
        name: String,
        /// The instruction that was probably meant.
        suggestion: Option<String>,
    },
    /// A heredoc whose end is missing.
    #[error("unterminated heredoc")]
    UnterminatedHeredoc,
    /// A heredoc's name cannot be read.
    #[error(transparent)]
    HeredocName(ExpandError),
    /// `escape` directive with another character.
    #[error("invalid escape token '{0}' does not match ` or \\")]
    EscapeToken(String),
    /// A directive given twice.
    #[error("only one {0} parser directive can be used")]
    DuplicateDirective(String),
    /// A JSON array with something else than strings.
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    JsonNotStrings,
    /// `ENV name` or `LABEL name` without value.
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    /// A word without `=` among name=value pairs.
    #[error("Syntax error - can't find = in {word}. Must be of the form: name=value", word = super::quoted(.0))]
    MissingEquals(String),
    /// `FROM` with a wrong number of words.
    #[error("FROM requires either one or three arguments")]
    FromArguments,
    /// A bad name after `AS`.
    #[error("invalid name for build stage: {name}, name can't start with a number or contain symbols", name = super::quoted(.0))]
    StageName(String),
    /// Nothing after the instruction.
    #[error("{0} requires at least one argument")]
    AtLeastOneArgument(&'static str),
    /// Nothing, or too much, after the instruction.
    #[error("{0} requires exactly one argument")]
    ExactlyOneArgument(&'static str),
    /// `COPY` or `ADD` with one path.
    #[error(
        "{0} requires at least two arguments, but only one was provided. Destination could not be determined"
    )]
    NoDestination(&'static str),
    /// A heredoc where a path has to stand.
    #[error("{0} cannot accept a heredoc as a destination")]
    HeredocDestination(&'static str),
    /// `=value` without a name.
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    /// `ONBUILD ONBUILD`.
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    /// `ONBUILD FROM` and `ONBUILD MAINTAINER`.
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(String),
    /// A stored trigger that is more than one instruction.
    #[error("onbuild trigger should be a single expression")]
    TriggerNotSingle,
    /// `FROM` where only instructions of a stage may stand.
    #[error("{0} is not allowed here")]
    NotAllowedHere(String),
    /// `HEALTHCHECK NONE x`.
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthcheckNone,
    /// `HEALTHCHECK CMD` alone.
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthcheckCommand,
    /// `HEALTHCHECK x`.
    #[error("Unknown type {kind} in HEALTHCHECK (try CMD)", kind = super::quoted(.0))]
    HealthcheckType(String),
    /// A duration below a millisecond.
    #[error("Interval {flag} cannot be less than 1ms", flag = super::quoted(.0))]
    IntervalTooShort(String),
    /// Something that is no duration.
    #[error("{0}")]
    Duration(dray_spec::golang::DurationError),
    /// Something that is no number.
    #[error("strconv.ParseInt: parsing {number}: {reason}", number = super::quoted(.0), reason = .1)]
    Number(String, &'static str),
    /// `--retries=-1`.
    #[error("--retries cannot be negative ({0})")]
    NegativeRetries(i64),
    /// `SHELL` with something else than a JSON array.
    #[error("{0} requires the arguments to be in JSON form")]
    NotJson(&'static str),
    /// `VOLUME ""`.
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    /// A flag that the instruction does not have.
    #[error("unknown flag: {flag}{}", did_you_mean(.suggestion))]
    UnknownFlag {
        /// The flag with its dashes.
        flag: String,
        /// The flag that was probably meant, without dashes.
        suggestion: Option<String>,
    },
    /// A flag given twice.
    #[error("duplicate flag specified: {0}")]
    DuplicateFlag(String),
    /// A flag that needs a value.
    #[error("missing a value on flag: {0}")]
    MissingFlagValue(String),
    /// A yes-or-no flag with another value.
    #[error("expecting boolean value for flag {flag}, not: {value}")]
    NotBoolean {
        /// The flag with its dashes.
        flag: String,
        /// Its value.
        value: String,
    },
    /// A bad `--mount`.
    #[error(transparent)]
    Mount(MountError),
    /// A bad `--device`.
    #[error(transparent)]
    Device(DeviceError),
    /// `RUN --network=x`.
    #[error("invalid network mode {mode}", mode = super::quoted(.0))]
    NetworkMode(String),
    /// `RUN --security=x`.
    #[error("security {mode} is not valid", mode = super::quoted(.0))]
    SecurityMode(String),
}

/// When a fault is found, which decides on the beginning of Docker's sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Bare,
    Syntax,
    Instruction,
}

impl Fault {
    fn phase(&self) -> Phase {
        match self {
            Fault::Empty { .. } | Fault::NoBuildStage | Fault::NoStages => Phase::Bare,
            Fault::NoInstructions
            | Fault::UnterminatedHeredoc
            | Fault::HeredocName(_)
            | Fault::EscapeToken(_)
            | Fault::DuplicateDirective(_)
            | Fault::JsonNotStrings
            | Fault::TwoArguments(_)
            | Fault::MissingEquals(_) => Phase::Syntax,
            _ => Phase::Instruction,
        }
    }

    /// This fault at a range of the logical line.
    pub(super) fn at(self, at: Range<usize>) -> Located {
        Located { fault: Box::new(self), at }
    }
}

/// A fault with the bytes of the logical line that are faulty.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) fault: Box<Fault>,
    pub(super) at: Range<usize>,
}
