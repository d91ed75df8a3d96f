//! Which words of which instruction have variables.

use std::collections::BTreeMap;

use crate::dockerfile::{ArgPair, Command, KeyValue, SourceFile};
use crate::expand::{Env, ExpandError, Expander};

/// The instruction with its variables expanded. `RUN`, `CMD`, `ENTRYPOINT`, `HEALTHCHECK`, `SHELL`, `ONBUILD` and
/// `MAINTAINER` leave them to whoever runs them.
pub(crate) fn expanded(
    command: &Command,
    expander: &Expander,
    env: &dyn Env,
) -> Result<Command, ExpandError> {
    let word = |text: &String| expander.word(text, env);
    let words = |texts: &[String]| texts.iter().map(word).collect::<Result<Vec<_>, _>>();
    let optional = |text: &Option<String>| text.as_ref().map(word).transpose();
    let pairs = |pairs: &[KeyValue]| {
        let pair = |pair: &KeyValue| {
            Ok(KeyValue { key: word(&pair.key)?, value: word(&pair.value)?, delimited: pair.delimited })
        };
        pairs.iter().map(pair).collect::<Result<Vec<_>, ExpandError>>()
    };
    Ok(match command {
        Command::Env(list) => Command::Env(pairs(list)?),
        Command::Label(list) => Command::Label(pairs(list)?),
        Command::Arg(list) => Command::Arg(args(list, expander, env)?),
        Command::Expose(ports) => {
            let mut all = Vec::new();
            for port in ports {
                all.extend(expander.words(port, env)?);
            }
            Command::Expose(all)
        }
        Command::StopSignal(signal) => Command::StopSignal(word(signal)?),
        Command::User(user) => Command::User(word(user)?),
        Command::Volume(paths) => Command::Volume(words(paths)?),
        Command::Workdir(path) => Command::Workdir(word(path)?),
        Command::Copy(copy) => {
            let mut copy = copy.clone();
            copy.chown = optional(&copy.chown)?;
            copy.chmod = optional(&copy.chmod)?;
            copy.sources = words(&copy.sources)?;
            copy.dest = word(&copy.dest)?;
            copy.files = files(&copy.files, env)?;
            Command::Copy(copy)
        }
        Command::Add(add) => {
            let mut add = add.clone();
            add.chown = optional(&add.chown)?;
            add.chmod = optional(&add.chmod)?;
            add.checksum = optional(&add.checksum)?;
            add.sources = words(&add.sources)?;
            add.dest = word(&add.dest)?;
            add.files = files(&add.files, env)?;
            Command::Add(add)
        }
        other => other.clone(),
    })
}

/// Names declared further left are seen further right.
fn args(list: &[ArgPair], expander: &Expander, env: &dyn Env) -> Result<Vec<ArgPair>, ExpandError> {
    struct Extended<'a>(&'a dyn Env, BTreeMap<String, String>);
    impl Env for Extended<'_> {
        fn get(&self, name: &str) -> Option<&str> {
            self.0.get(name).or_else(|| self.1.get(name).map(String::as_str))
        }
    }
    let mut env = Extended(env, BTreeMap::new());
    let mut result = Vec::new();
    for pair in list {
        let key = expander.word(&pair.key, &env)?;
        let value = pair.value.as_ref().map(|value| expander.word(value, &env)).transpose()?;
        if let Some(value) = &value {
            env.1.insert(key.clone(), value.clone());
        }
        result.push(ArgPair { key, value });
    }
    Ok(result)
}

/// In heredocs quotes mean nothing, and the escape character is always the backslash.
fn files(files: &[SourceFile], env: &dyn Env) -> Result<Vec<SourceFile>, ExpandError> {
    let expander = Expander { ignore_quotes: true, ..Expander::new('\\') };
    let file = |file: &SourceFile| {
        let content = if file.expand { expander.word(&file.content, env)? } else { file.content.clone() };
        Ok(SourceFile { content, ..file.clone() })
    };
    files.iter().map(file).collect()
}
