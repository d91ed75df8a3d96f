//! Build arguments: what `ARG` declares, where, and which value it has.
//!
//! ```text
//! ARG before FROM        global: FROM sees it; a stage only after it declares it again, without value
//! ARG in a stage         from that line to the end of the stage
//! --build-arg            goes before any default
//! proxy variables        always declared, never in history
//! TARGETPLATFORM, …      set by the builder; FROM sees them, a stage declares them
//! ```
//!
//! Of `ENV` and `ARG` of the same name the later one counts, as with BuildKit; an `ARG` without any value is as if it
//! were not there.

use std::collections::{BTreeMap, BTreeSet};

use dray_spec::Platform;

use crate::expand::Env;

/// Always declared; a value does not change what is built, so it is left out of history and cache.
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Steer what is looked through for lists of parts, and nothing else: they are no variables of a stage.
const STEERING: [&str; 2] = [SCAN_STAGE, SCAN_CONTEXT];
/// A stage is looked through.
pub(crate) const SCAN_STAGE: &str = "BUILDKIT_SBOM_SCAN_STAGE";
/// The context is looked through.
pub(crate) const SCAN_CONTEXT: &str = "BUILDKIT_SBOM_SCAN_CONTEXT";

/// Whether an argument is no variable, wherever it is declared.
pub(crate) fn is_steering(key: &str) -> bool {
    STEERING.contains(&key)
}

/// The arguments of a build, as a line of a stage sees them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BuildArgs {
    /// `--build-arg`.
    given: BTreeMap<String, Option<String>>,
    /// Set by the builder itself.
    automatic: BTreeMap<String, String>,
    /// Declared before the first `FROM`.
    global: BTreeMap<String, Option<String>>,
    /// Declared in this stage.
    declared: BTreeMap<String, Option<String>>,
    /// Those that go before an `ENV` of their name: they were declared after it.
    later: BTreeSet<String>,
}

impl BuildArgs {
    pub(crate) fn new(given: BTreeMap<String, Option<String>>, target: &Platform, stage: &str) -> Self {
        let host = Platform::host();
        let mut automatic = BTreeMap::new();
        for (prefix, platform) in [("BUILD", &host), ("TARGET", target)] {
            automatic.insert(format!("{prefix}PLATFORM"), platform.to_string());
            automatic.insert(format!("{prefix}OS"), platform.os.clone());
            automatic.insert(format!("{prefix}OSVERSION"), platform.os_version.clone().unwrap_or_default());
            automatic.insert(format!("{prefix}ARCH"), platform.architecture.clone());
            automatic.insert(format!("{prefix}VARIANT"), platform.variant.clone().unwrap_or_default());
        }
        let stage = if stage.is_empty() { "default" } else { stage };
        automatic.insert("TARGETSTAGE".to_owned(), stage.to_owned());
        BuildArgs { given, automatic, ..BuildArgs::default() }
    }

    /// The arguments at the beginning of a stage. One that begins with another stage has that one's too.
    pub(crate) fn for_stage(&self) -> Self {
        BuildArgs { declared: BTreeMap::new(), later: BTreeSet::new(), ..self.clone() }
    }

    /// The arguments without what the build was given, but for those that are always there.
    pub(crate) fn defaults(&self) -> Self {
        let given = self.given.iter().filter(|(key, _)| self.automatic.contains_key(*key));
        let given = given.map(|(key, value)| (key.clone(), value.clone())).collect();
        BuildArgs { given, automatic: self.automatic.clone(), ..BuildArgs::default() }
    }

    /// What `--build-arg` says.
    pub(crate) fn given(&self, key: &str) -> Option<&str> {
        self.given.get(key)?.as_deref()
    }

    /// What an `ARG` of a stage without value and default takes over.
    pub(crate) fn global(&self, key: &str) -> Option<String> {
        self.global.get(key).cloned().flatten().or_else(|| self.automatic.get(key).cloned())
    }

    /// An `ARG` before the first `FROM`.
    pub(crate) fn declare_global(&mut self, key: &str, default: Option<String>) {
        self.declared.insert(key.to_owned(), default.clone());
        self.global.insert(key.to_owned(), default);
    }

    /// An `ARG` of a stage.
    pub(crate) fn declare(&mut self, key: &str, default: Option<String>) {
        self.declared.insert(key.to_owned(), default);
        if self.value(key, &self.declared).is_some() && !is_steering(key) {
            self.later.insert(key.to_owned());
        }
    }

    /// An `ENV` of a stage.
    pub(crate) fn hide(&mut self, key: &str) {
        self.later.remove(key);
    }

    /// What of an environment is not hidden by an argument.
    pub(crate) fn seen_of(&self, env: &[String]) -> Vec<String> {
        env.iter().filter(|variable| !self.later.contains(name_of(variable))).cloned().collect()
    }

    fn value(&self, key: &str, declared: &BTreeMap<String, Option<String>>) -> Option<String> {
        if let Some(Some(given)) = self.given.get(key) {
            return Some(given.clone());
        }
        let default = declared.get(key).cloned().flatten();
        default
            .or_else(|| self.global.get(key).cloned().flatten())
            .or_else(|| self.automatic.get(key).cloned())
    }

    fn all(&self, declared: &BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
        let keys = declared.keys().map(String::as_str).chain(PROXIES);
        keys.filter_map(|key| Some((key.to_owned(), self.value(key, declared)?))).collect()
    }

    /// What `FROM` sees.
    pub(crate) fn for_from(&self) -> BTreeMap<String, String> {
        let mut all = self.all(&self.global);
        for (key, value) in &self.automatic {
            let value = self.given.get(key).cloned().flatten().unwrap_or_else(|| value.clone());
            all.entry(key.clone()).or_insert(value);
        }
        all
    }

    /// What a line of the stage sees, without what an `ENV` of the same name hides.
    pub(crate) fn beside(&self, env: &[String]) -> BTreeMap<String, String> {
        let mut all = self.all(&self.declared);
        all.retain(|key, _| !is_steering(key));
        for name in env.iter().map(|variable| name_of(variable)).filter(|name| !self.later.contains(*name)) {
            all.remove(name);
        }
        all
    }

    /// Whether an argument, of the stage or else a global one, is on for a stage of this name: by a yes, or by a list of
    /// stages. What nobody declares is off.
    pub(crate) fn is_on_for(&self, key: &str, stage: &str) -> bool {
        if !self.declared.contains_key(key) && !self.global.contains_key(key) {
            return false;
        }
        let value = self.value(key, &self.declared).unwrap_or_default();
        match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" | "" => false,
            names => names.split(',').any(|name| name == stage),
        }
    }

    /// Whether a value is part of what is built: all are but proxies that no `ARG` declares.
    pub(crate) fn counts(&self, key: &str) -> bool {
        !PROXIES.contains(&key) || self.declared.contains_key(key)
    }

    /// The `--build-arg`s that are neither in `declared` nor known without declaration.
    pub(crate) fn unused(&self, declared: &BTreeSet<String>) -> Vec<String> {
        let known = |key: &String| {
            declared.contains(key)
                || PROXIES.contains(&key.as_str())
                || self.automatic.contains_key(key)
                || key.starts_with("BUILDKIT_")
                || key == crate::epoch::SOURCE_DATE_EPOCH
        };
        self.given.keys().filter(|key| !known(key)).cloned().collect()
    }
}

/// The name of a variable.
fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// The variables of a line: arguments that no `ENV` hides, then `ENV`.
pub(crate) struct LineEnv<'a> {
    pub(crate) env: &'a [String],
    pub(crate) args: BTreeMap<String, String>,
}

impl<'a> LineEnv<'a> {
    pub(crate) fn new(env: &'a [String], args: &BuildArgs) -> Self {
        LineEnv { env, args: args.beside(env) }
    }
}

impl Env for LineEnv<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let from_env = || {
            self.env.iter().rev().find_map(|variable| match variable.split_once('=') {
                Some((key, value)) if key == name => Some(value),
                None if variable == name => Some(""),
                _ => None,
            })
        };
        self.args.get(name).map(String::as_str).or_else(from_env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(given: &[(&str, &str)]) -> BuildArgs {
        let given = given.iter().map(|(k, v)| (k.to_string(), Some(v.to_string()))).collect();
        BuildArgs::new(given, &Platform::new("linux", "arm64", None), "")
    }

    #[test]
    fn of_an_argument_and_a_variable_the_later_counts() {
        let mut args = args(&[("A", "given")]);
        let env = ["A=env".to_owned(), "B=env".to_owned(), "C=env".to_owned()];
        let get = |args: &BuildArgs, name: &str| LineEnv::new(&env, args).get(name).map(str::to_owned);
        args.declare("A", Some("default".to_owned()));
        args.declare("B", Some("default".to_owned()));
        args.declare("C", None);
        assert_eq!(get(&args, "A").as_deref(), Some("given"));
        assert_eq!(get(&args, "B").as_deref(), Some("default"));
        assert_eq!(get(&args, "C").as_deref(), Some("env"), "without a value it is as if it were not there");
        assert_eq!(args.seen_of(&env), ["C=env"]);
        args.hide("A");
        assert_eq!(get(&args, "A").as_deref(), Some("env"));
        assert!(!args.beside(&env).contains_key("A"));
        let stage = args.for_stage();
        assert_eq!(get(&stage, "B").as_deref(), Some("env"), "another stage begins anew");
    }

    #[test]
    fn global_arguments_reach_a_stage_only_when_declared_again() {
        let mut args = args(&[]);
        args.declare_global("V", Some("1".to_owned()));
        assert_eq!(args.for_from()["V"], "1");
        let mut stage = args.for_stage();
        assert!(!stage.beside(&[]).contains_key("V"));
        stage.declare("V", None);
        assert_eq!(stage.beside(&[])["V"], "1");
        stage.declare("V", Some("2".to_owned()));
        assert_eq!(stage.beside(&[])["V"], "2");
    }

    #[test]
    fn given_values_go_before_defaults_and_a_later_env_before_both() {
        let mut args = args(&[("A", "given")]).for_stage();
        args.declare("A", Some("default".to_owned()));
        assert_eq!(args.beside(&[])["A"], "given");
        let env = ["A=env".to_owned(), "B=x".to_owned()];
        args.hide("A");
        let line = LineEnv::new(&env, &args);
        assert_eq!(line.get("A"), Some("env"));
        assert_eq!(line.get("B"), Some("x"));
        assert_eq!(line.get("C"), None);
    }

    #[test]
    fn what_steers_is_on_for_stages_and_no_variable() {
        let mut args = args(&[(SCAN_CONTEXT, "false")]);
        assert!(!args.is_on_for(SCAN_STAGE, "a"));
        args.declare_global(SCAN_STAGE, Some("a,c".to_owned()));
        args.declare_global(SCAN_CONTEXT, Some("true".to_owned()));
        let mut stage = args.for_stage();
        assert!(stage.is_on_for(SCAN_STAGE, "a") && !stage.is_on_for(SCAN_STAGE, "b"));
        assert!(!stage.is_on_for(SCAN_CONTEXT, "a"), "what the build is given goes before the default");
        stage.declare(SCAN_STAGE, Some("true".to_owned()));
        assert!(stage.is_on_for(SCAN_STAGE, "b"));
        assert_eq!(stage.beside(&[]), BTreeMap::new());
    }

    #[test]
    fn proxies_need_no_declaration_and_count_only_with_one() {
        let mut args = args(&[("http_proxy", "p"), ("OTHER", "x"), ("A", "1")]).for_stage();
        assert_eq!(args.beside(&[])["http_proxy"], "p");
        assert!(!args.counts("http_proxy"));
        args.declare("http_proxy", None);
        assert!(args.counts("http_proxy"));
        assert_eq!(args.unused(&BTreeSet::from(["A".to_owned()])), ["OTHER"]);
    }

    #[test]
    fn platform_arguments_are_set_but_must_be_declared() {
        let mut args = args(&[]);
        assert_eq!(args.for_from()["TARGETARCH"], "arm64");
        args = args.for_stage();
        assert!(!args.beside(&[]).contains_key("TARGETARCH"));
        args.declare("TARGETARCH", None);
        args.declare("BUILDOS", None);
        assert_eq!(args.beside(&[])["TARGETARCH"], "arm64");
        assert_eq!(args.beside(&[])["BUILDOS"], "linux");
    }
}
