//! Edits of the image configuration: what each instruction that makes no files does, and its line in history.
//!
//! The comments are those of Docker's classic builder, which `docker history` has always shown. The functions
//! also serve `docker commit --change` and `docker import --change`.

use std::collections::BTreeMap;

use dray_spec::RunConfig;

use crate::dockerfile::{Command, CommandLine, Healthcheck, KeyValue, duration_text, quoted};
use crate::error::InstructionError;

/// Search path of an image that sets none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to expect in a stage that begins with this configuration.
pub(crate) fn begin_stage(config: &mut RunConfig) {
    let env = config.env.get_or_insert_default();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(DEFAULT_PATH.to_owned());
    }
}

/// The shell of the shell form.
pub(crate) fn shell(config: &RunConfig) -> Vec<String> {
    match &config.shell {
        Some(shell) if !shell.is_empty() => shell.clone(),
        _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
    }
}

/// A command line with the shell in front if it is in shell form.
pub(crate) fn resolved(line: &CommandLine, config: &RunConfig) -> Vec<String> {
    if !line.shell {
        return line.words.clone();
    }
    let mut argv = shell(config);
    argv.extend(line.words.iter().cloned());
    argv
}

/// A line of history for an instruction that runs nothing. Most have two blanks behind `#(nop)`.
pub(crate) fn nop(config: &RunConfig, comment: &str) -> String {
    format!("{} #(nop)  {comment}", shell(config).join(" "))
}

/// The same with one blank: `COPY`, `ADD` and `WORKDIR`.
pub(crate) fn nop_file(config: &RunConfig, comment: &str) -> String {
    format!("{} #(nop) {comment}", shell(config).join(" "))
}

/// What a configuration gets from instructions one after the other.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// `MAINTAINER`, if there was one.
    pub author: Option<String>,
    /// Whether `CMD` was set: then `ENTRYPOINT` leaves it.
    cmd_set: bool,
}

impl Edits {
    /// Applies an instruction whose variables have been expanded; gives its comment, or `None` if it is one that
    /// works on files or declares an argument.
    ///
    /// # Errors
    /// When its arguments are wrong.
    pub fn apply(
        &mut self,
        config: &mut RunConfig,
        command: &Command,
    ) -> Result<Option<String>, InstructionError> {
        Ok(Some(match command {
            Command::Env(pairs) => set_env(config, pairs),
            Command::Label(pairs) => set_labels(config, pairs),
            Command::Maintainer(author) => {
                self.author = Some(author.clone());
                format!("MAINTAINER {author}")
            }
            Command::Cmd(line) => {
                let cmd = resolved_or_empty(line, config);
                self.cmd_set |= !line.words.is_empty();
                let comment = format!("CMD {}", go_list(&cmd));
                config.cmd = Some(cmd);
                comment
            }
            Command::Entrypoint(line) => {
                let entrypoint = resolved_or_empty(line, config);
                if !self.cmd_set {
                    config.cmd = None;
                }
                let comment = format!("ENTRYPOINT {}", go_list(&entrypoint));
                // `ENTRYPOINT []` takes the base's off.
                config.entrypoint = Some(entrypoint).filter(|words| !words.is_empty());
                comment
            }
            Command::Expose(ports) => {
                let set = config.exposed_ports.get_or_insert_default();
                for port in exposed(ports)? {
                    set.insert(port, BTreeMap::new());
                }
                format!("EXPOSE {}", ports.join(" "))
            }
            Command::Healthcheck(check) => {
                config.healthcheck = Some(healthcheck(check));
                format!("HEALTHCHECK {}", healthcheck_comment(check))
            }
            Command::Onbuild(trigger) => {
                config.on_build.get_or_insert_default().push(trigger.clone());
                format!("ONBUILD {trigger}")
            }
            Command::Shell(shell) => {
                config.shell = Some(shell.clone());
                format!("SHELL [{}]", shell.join(" "))
            }
            Command::StopSignal(signal) => {
                check_signal(signal)?;
                config.stop_signal.clone_from(signal);
                format!("STOPSIGNAL {signal}")
            }
            Command::User(user) => {
                config.user.clone_from(user);
                format!("USER {user}")
            }
            Command::Volume(paths) => {
                let set = config.volumes.get_or_insert_default();
                for path in paths {
                    if path.is_empty() {
                        return Err(InstructionError::EmptyVolume);
                    }
                    set.insert(path.clone(), BTreeMap::new());
                }
                format!("VOLUME [{}]", paths.join(" "))
            }
            Command::Workdir(path) => {
                config.working_dir = workdir(&config.working_dir, path);
                format!("WORKDIR {}", config.working_dir)
            }
            Command::Add(_) | Command::Arg(_) | Command::Copy(_) | Command::Run(_) => return Ok(None),
        }))
    }
}

/// A command line; without words it stays empty, without the shell.
fn resolved_or_empty(line: &CommandLine, config: &RunConfig) -> Vec<String> {
    if line.words.is_empty() { Vec::new() } else { resolved(line, config) }
}

fn set_env(config: &mut RunConfig, pairs: &[KeyValue]) -> String {
    let mut comment = "ENV".to_owned();
    let env = config.env.get_or_insert_default();
    for pair in pairs {
        let variable = format!("{}={}", pair.key, pair.value);
        comment.push_str(&format!(" {variable}"));
        let same = |known: &&mut String| known.split_once('=').map_or(known.as_str(), |(k, _)| k) == pair.key;
        match env.iter_mut().find(same) {
            Some(known) => *known = variable,
            None => env.push(variable),
        }
    }
    comment
}

fn set_labels(config: &mut RunConfig, pairs: &[KeyValue]) -> String {
    let mut comment = "LABEL".to_owned();
    let labels = config.labels.get_or_insert_default();
    for pair in pairs {
        labels.insert(pair.key.clone(), pair.value.clone());
        comment.push_str(&format!(" {}={}", pair.key, pair.value));
    }
    comment
}

/// `["a" "b"]`, as Go prints a list with `%q`.
fn go_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

fn healthcheck(check: &Healthcheck) -> dray_spec::Healthcheck {
    dray_spec::Healthcheck {
        test: Some(check.test.clone()),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

/// As Go prints a pointer to the structure with `%+v`.
fn healthcheck_comment(check: &Healthcheck) -> String {
    format!(
        "&{{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        check.test.join(" "),
        duration_text(check.interval),
        duration_text(check.timeout),
        duration_text(check.start_period),
        duration_text(check.start_interval),
        check.retries
    )
}

/// A new working directory, relative to the one before; nothing leaves that, as with BuildKit.
fn workdir(current: &str, path: &str) -> String {
    crate::glob::clean_path(&if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{current}/{path}")
    })
}

/// The ports of `EXPOSE` as `80/tcp`, ranges spelt out. Host parts are read and left out.
fn exposed(specs: &[String]) -> Result<Vec<String>, InstructionError> {
    let mut ports = Vec::new();
    for spec in specs {
        let (host, container) = spec.rsplit_once(':').map_or(("", spec.as_str()), |(h, c)| (h, c));
        let (range, proto) = container.split_once('/').unwrap_or((container, "tcp"));
        let proto = if proto.is_empty() { "tcp".to_owned() } else { proto.to_lowercase() };
        if range.is_empty() {
            return Err(InstructionError::NoPort(spec.clone()));
        }
        if !["tcp", "udp", "sctp"].contains(&proto.as_str()) {
            return Err(InstructionError::Proto(proto));
        }
        let (start, end) = port_range(range).ok_or_else(|| InstructionError::Port(range.to_owned()))?;
        let host_port = host.rsplit_once(':').map_or(host, |(_, port)| port);
        if !host_port.is_empty() && port_range(host_port).is_none() {
            return Err(InstructionError::HostPort(host_port.to_owned()));
        }
        ports.extend((start..=end).map(|port| format!("{port}/{proto}")));
    }
    Ok(ports)
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (start, end) = (Some(start).filter(|s| digits(s))?, Some(end).filter(|s| digits(s))?);
    let range = (start.parse().ok()?, end.parse().ok()?);
    (range.0 <= range.1).then_some(range)
}

/// Signals by name, without `SIG`.
const SIGNALS: [&str; 33] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU",
    "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU",
];

fn check_signal(signal: &str) -> Result<(), InstructionError> {
    if let Ok(number) = signal.parse::<i64>() {
        return if number == 0 { Err(InstructionError::Signal(signal.to_owned())) } else { Ok(()) };
    }
    let upper = signal.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |prefix: &str, sign: char| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            rest.is_empty()
                || rest
                    .strip_prefix(sign)
                    .and_then(|n| n.parse::<u8>().ok())
                    .is_some_and(|n| (1..=15).contains(&n))
        })
    };
    match SIGNALS.contains(&name) || name == "XFSZ" || real_time("RTMIN", '+') || real_time("RTMAX", '-') {
        true => Ok(()),
        false => Err(InstructionError::Signal(signal.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse_changes;

    /// Applies instructions; gives the configuration and the comments.
    fn applied(text: &str) -> Result<(RunConfig, Vec<String>), InstructionError> {
        let (mut config, mut edits, mut comments) = (RunConfig::default(), Edits::default(), Vec::new());
        for instruction in parse_changes(text).expect("parses") {
            comments.extend(edits.apply(&mut config, &instruction.command)?);
        }
        Ok((config, comments))
    }

    #[test]
    fn comments_are_those_of_the_classic_builder() {
        let (_, comments) = applied(
            "ENV A=1 B=two\nLABEL x=y\nCMD [\"a\", \"b c\"]\nCMD echo hi\nENTRYPOINT [\"/e\"]\nEXPOSE 80 53/udp\n\
             USER me\nVOLUME /a /b\nWORKDIR /w\nWORKDIR sub\nSHELL [\"/bin/bash\", \"-c\"]\nSTOPSIGNAL SIGINT\n\
             ONBUILD RUN x\nMAINTAINER someone\nHEALTHCHECK --interval=5s CMD true",
        )
        .expect("valid");
        assert_eq!(
            comments,
            [
                "ENV A=1 B=two",
                "LABEL x=y",
                "CMD [\"a\" \"b c\"]",
                "CMD [\"/bin/sh\" \"-c\" \"echo hi\"]",
                "ENTRYPOINT [\"/e\"]",
                "EXPOSE 53/udp 80",
                "USER me",
                "VOLUME [/a /b]",
                "WORKDIR /w",
                "WORKDIR /w/sub",
                "SHELL [/bin/bash -c]",
                "STOPSIGNAL SIGINT",
                "ONBUILD RUN x",
                "MAINTAINER someone",
                "HEALTHCHECK &{Test:[CMD-SHELL true] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}",
            ]
        );
    }

    #[test]
    fn entrypoint_resets_the_inherited_command_only() {
        let line = |text: &str| parse_changes(text).expect("parses").remove(0).command;
        let mut config = RunConfig { cmd: Some(vec!["inherited".to_owned()]), ..RunConfig::default() };
        let mut edits = Edits::default();
        edits.apply(&mut config, &line("ENTRYPOINT [\"/e\"]")).expect("valid");
        assert_eq!(config.cmd, None);
        edits.apply(&mut config, &line("CMD [\"mine\"]")).expect("valid");
        edits.apply(&mut config, &line("ENTRYPOINT [\"/f\"]")).expect("valid");
        assert_eq!(config.cmd.as_deref(), Some(&["mine".to_owned()][..]));
    }

    #[test]
    fn env_replaces_by_name_and_keeps_its_place() {
        let (config, _) = applied("ENV A=1 B=2\nENV A=3\nENV C some words").expect("valid");
        assert_eq!(config.env.expect("env"), ["A=3", "B=2", "C=some words"]);
    }

    #[test]
    fn ports_are_checked_and_ranges_spelt_out() {
        let (config, _) = applied("EXPOSE 8000-8002/udp 127.0.0.1:80:8080 443/TCP").expect("valid");
        let ports: Vec<String> = config.exposed_ports.expect("ports").into_keys().collect();
        assert_eq!(ports, ["443/tcp", "8000/udp", "8001/udp", "8002/udp", "8080/tcp"]);
        for (bad, message) in [
            ("x", "invalid containerPort: x"),
            ("80/icmp", "invalid proto: icmp"),
            ("70000", "invalid containerPort: 70000"),
            ("9-8", "invalid containerPort: 9-8"),
            ("+80", "invalid containerPort: +80"),
            ("/tcp", "no port specified: /tcp<empty>"),
        ] {
            assert_eq!(applied(&format!("EXPOSE {bad}")).expect_err("bad").to_string(), message);
        }
    }

    #[test]
    fn signals_are_checked() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-2", "XFSZ"] {
            applied(&format!("STOPSIGNAL {good}")).expect(good);
        }
        for bad in ["SIGNOTHING", "0", "RTMIN+99"] {
            let message = applied(&format!("STOPSIGNAL {bad}")).expect_err(bad).to_string();
            assert_eq!(message, format!("invalid signal: {bad}"));
        }
    }
}
