//! `dray registry …`: the commands of the server's operator.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::access::new_robot;
use crate::api::now;
use crate::config::{Config, ConfigError, Place, ServeFlags};
use crate::duration::Span;
use crate::garbage::{Ages, Collector};
use crate::metadata::Metadata;
use crate::replication::{self, Replication, ReplicationError};
use crate::retention::Expired;
use crate::serve::{self, ServeError};

/// A registry for images and other artifacts (OCI distribution-spec 1.1).
#[derive(Debug, Parser)]
#[command(name = "dray registry", bin_name = "dray registry", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the registry
    Serve(Box<ServeFlags>),
    /// Collect garbage now; the registry may go on meanwhile
    Gc {
        #[command(flatten)]
        place: Place,
        /// How long a blob that no manifest needs is kept
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        grace: Span,
        /// Collect manifests without a tag when they are so old
        #[arg(long, value_name = "DURATION")]
        untagged: Option<Span>,
        /// How long an upload may rest
        #[arg(long, value_name = "DURATION", default_value = "7d")]
        upload_expiry: Span,
    },
    /// Delete the tags that the configuration's retention rules let go
    Retention {
        #[command(flatten)]
        place: Place,
        /// Only show them
        #[arg(long)]
        dry_run: bool,
    },
    /// Look after the copies at other registries
    #[command(subcommand)]
    Replication(Replicate),
    /// Manage accounts of programs, whose secrets end by themselves
    #[command(subcommand)]
    Robot(Robot),
}

#[derive(Debug, Subcommand)]
enum Replicate {
    /// List the copies and how they stand
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Have everything compared that the configuration says is replicated; the server does it
    Sync {
        #[command(flatten)]
        place: Place,
        /// Only to this target
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Robot {
    /// Make or renew an account; its secret is printed once
    Add {
        #[command(flatten)]
        place: Place,
        /// Its name, with which it logs in
        name: String,
        /// What it may do, as repository:PATTERN:ACTION[,ACTION]; may be given several times
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scope)]
        scopes: Vec<String>,
        /// How long its secret lasts
        #[arg(long, value_name = "DURATION", default_value = "90d")]
        expires: Span,
    },
    /// List accounts
    Ls {
        #[command(flatten)]
        place: Place,
    },
    /// Remove an account
    Rm {
        #[command(flatten)]
        place: Place,
        /// Its name
        name: String,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Metadata(#[from] crate::metadata::Error),
    #[error(transparent)]
    Storage(#[from] crate::storage::Error),
    #[error(transparent)]
    Garbage(#[from] crate::garbage::Error),
    #[error("start the runtime: {0}")]
    Runtime(std::io::Error),
    #[error(transparent)]
    Replication(#[from] ReplicationError),
    #[error("no such replication target: {0}")]
    NoTarget(String),
    #[error("no such robot account: {0}")]
    NoRobot(String),
    #[error("{0} is no name of a robot account: letters, digits and . _ - + $ only")]
    RobotName(String),
}

fn scope(text: &str) -> Result<String, String> {
    match crate::access::Grant::parse(text) {
        Some(grant) if !grant.actions().is_empty() && !text.contains(char::is_whitespace) => {
            Ok(text.to_owned())
        }
        _ => Err("not repository:PATTERN:ACTION[,ACTION] with pull, push, delete or *".into()),
    }
}

/// `dray registry …`: the whole process.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let after = args.into_iter().skip_while(|word| *word != "registry").skip(1);
    let argv = std::iter::once(OsString::from("dray registry")).chain(after);
    let arguments = match Arguments::try_parse_from(argv) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1));
        }
    };
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dray registry: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), CommandError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CommandError::Runtime)?;
    match command {
        Command::Serve(flags) => {
            let config = Config::load(*flags)?;
            log_to_stderr(&config.log_level);
            runtime.block_on(serve::run(config))?;
        }
        Command::Gc { place, grace, untagged, upload_expiry } => {
            let ages = Ages {
                blobs: grace.millis(),
                uploads: upload_expiry.millis(),
                untagged: untagged.map(Span::millis),
            };
            runtime.block_on(collect(&place, &ages))?;
        }
        Command::Retention { place, dry_run } => runtime.block_on(retain(place, dry_run))?,
        Command::Replication(command) => runtime.block_on(replicate(command))?,
        Command::Robot(command) => runtime.block_on(robot(command))?,
    }
    Ok(())
}

fn log_to_stderr(level: &str) {
    let filter = format!("warn,dray_registry_server={level}");
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_env_filter(tracing_subscriber::EnvFilter::new(filter))
        .try_init();
}

async fn collect(place: &Place, ages: &Ages) -> Result<(), CommandError> {
    let data = place.data()?;
    let (storage, metadata) = (data.open_storage()?, data.open_metadata().await?);
    let collected = Collector::new(storage, metadata).round(ages).await?;
    println!(
        "collected {} blobs ({} bytes), {} manifests, {} uploads",
        collected.blobs, collected.bytes, collected.manifests, collected.uploads
    );
    Ok(())
}

async fn retain(place: Place, dry_run: bool) -> Result<(), CommandError> {
    let config = Config::load(ServeFlags { place, ..ServeFlags::default() })?;
    let metadata = config.data.open_metadata().await?;
    let expired = crate::retention::apply(&*metadata, &config.retention, &config.rules, dry_run).await?;
    for Expired { repository, tag } in &expired {
        let set = jiff::Timestamp::from_millisecond(tag.updated).unwrap_or_default();
        println!("{repository}:{}  {}  set {}", tag.name, tag.digest, set.strftime("%Y-%m-%dT%H:%M:%SZ"));
    }
    let what = if dry_run { "would be deleted" } else { "deleted" };
    println!("{} tags {what}", expired.len());
    Ok(())
}

async fn replicate(command: Replicate) -> Result<(), CommandError> {
    match command {
        Replicate::Ls { place } => {
            println!(
                "{:<16} {:<40} {:<8} {:<21} {:<9} ERROR",
                "TARGET", "REPOSITORY", "STATE", "SYNCED", "ATTEMPTS"
            );
            for copy in open(&place).await?.replications().await? {
                let synced = copy.synced.map_or_else(|| "never".to_owned(), replication::instant);
                let state = replication::state(copy.due, copy.attempts);
                println!(
                    "{:<16} {:<40} {state:<8} {synced:<21} {:<9} {}",
                    copy.target,
                    copy.repository.as_str(),
                    copy.attempts,
                    copy.error.unwrap_or_default()
                );
            }
        }
        Replicate::Sync { place, target } => {
            let config = Config::load(ServeFlags { place, ..ServeFlags::default() })?;
            let targets = Replication::open(&config.replication)?;
            if let Some(name) = target.as_ref().filter(|name| !targets.has(name)) {
                return Err(CommandError::NoTarget(name.clone()));
            }
            let metadata = config.data.open_metadata().await?;
            let marked = targets.mark_all(&*metadata, target.as_deref()).await?;
            println!("{marked} copies are due");
        }
    }
    Ok(())
}

async fn open(place: &Place) -> Result<Arc<dyn Metadata>, CommandError> {
    Ok(place.data()?.open_metadata().await?)
}

async fn robot(command: Robot) -> Result<(), CommandError> {
    match command {
        Robot::Add { place, name, scopes, expires } => {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-+$".contains(letter);
            if name.is_empty() || !name.chars().all(plain) {
                return Err(CommandError::RobotName(name));
            }
            let ends = now().saturating_add(expires.millis());
            let (robot, secret) = new_robot(&name, &scopes.join(" "), ends);
            open(&place).await?.put_robot(&robot).await?;
            println!("{secret}");
        }
        Robot::Ls { place } => {
            println!("{:<30} {:<22} SCOPES", "NAME", "EXPIRES");
            for robot in open(&place).await?.robots().await? {
                let ends = jiff::Timestamp::from_millisecond(robot.expires).unwrap_or_default();
                println!("{:<30} {:<22} {}", robot.name, ends.strftime("%Y-%m-%dT%H:%M:%SZ"), robot.scopes);
            }
        }
        Robot::Rm { place, name } => {
            if !open(&place).await?.remove_robot(&name).await? {
                return Err(CommandError::NoRobot(name));
            }
        }
    }
    Ok(())
}
