//! A profile in the files that Amazon's tools share: `~/.aws/credentials` and `~/.aws/config`.
//!
//! ```text
//! [default]                       in credentials         [profile ci]     in config
//! aws_access_key_id = …                                  region = …
//! aws_secret_access_key = …                              endpoint_url = …
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::connect::Unfit;
use super::environment::Environment;

/// Settings by which a profile gets keys that are not in the file.
const INDIRECT: [&str; 6] =
    ["role_arn", "source_profile", "credential_source", "sso_session", "sso_start_url", "credential_process"];

/// What a profile says.
#[derive(Debug, Default)]
pub(super) struct Profile {
    pub(super) keys: Option<Keys>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

/// Credentials.
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

impl std::fmt::Debug for Keys {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Profile {
    /// The profile that the environment names, or the default one; none if there is no file with it.
    ///
    /// # Errors
    /// A file cannot be read, the profile that is named is in none, or it has no keys where they are needed.
    pub(super) fn of(environment: &Environment) -> Result<Option<Self>, Unfit> {
        let named = environment.any(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
        let profile = named.unwrap_or("default");
        let files = [
            environment.file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
            environment.file("AWS_CONFIG_FILE", ".aws/config"),
        ];
        let mut settings = BTreeMap::new();
        let mut found = false;
        for file in files.iter().flatten() {
            if let Some(section) = section(&read(file)?, profile) {
                found = true;
                section.into_iter().for_each(|(name, value)| {
                    settings.entry(name).or_insert(value);
                });
            }
        }
        match (found, named) {
            (true, _) => Self::from(profile, settings, environment).map(Some),
            (false, None) => Ok(None),
            // Who has keys needs no profile.
            (false, Some(_)) if has_other_keys(environment) => Ok(None),
            (false, Some(_)) => Err(Unfit::NoProfile {
                profile: profile.to_owned(),
                files: files.iter().flatten().map(|file| file.display().to_string()).collect(),
            }),
        }
    }

    fn from(
        profile: &str,
        mut settings: BTreeMap<String, String>,
        environment: &Environment,
    ) -> Result<Self, Unfit> {
        let mut take = |name: &str| settings.remove(name);
        let keys = match (take("aws_access_key_id"), take("aws_secret_access_key")) {
            (Some(id), Some(secret)) => Some(Keys { id, secret, token: take("aws_session_token") }),
            _ => None,
        };
        let (region, endpoint) = (take("region"), take("endpoint_url"));
        let elsewhere = has_other_keys(environment);
        let way = INDIRECT.into_iter().find(|name| settings.contains_key(*name));
        match way {
            Some(way) if keys.is_none() && !elsewhere => {
                Err(Unfit::Indirect { profile: profile.to_owned(), way })
            }
            _ => Ok(Self { keys: keys.filter(|_| !elsewhere), region, endpoint }),
        }
    }
}

/// Whether the environment itself has credentials, which go before a profile's.
fn has_other_keys(environment: &Environment) -> bool {
    environment.any(&["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"]).is_some()
        || environment.is_on("AWS_SKIP_SIGNATURE")
}

fn read(path: &PathBuf) -> Result<String, Unfit> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|source| Unfit::Read { path: path.clone(), source }),
    }
}

/// The settings of a section, `[name]` or `[profile name]`; none if it is not there.
fn section(text: &str, profile: &str) -> Option<BTreeMap<String, String>> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        if let Some(head) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let mut words = head.split_whitespace();
            inside = match (words.next(), words.next()) {
                (Some("profile"), Some(name)) => name == profile,
                (Some(name), None) => name == profile,
                _ => false,
            };
            if inside {
                found.get_or_insert_with(BTreeMap::new);
            }
            continue;
        }
        // What is indented belongs to the setting above, of another service.
        let skipped = line.starts_with([' ', '\t', '#', ';']) || !inside;
        let Some((name, value)) = line.split_once('=').filter(|_| !skipped) else { continue };
        if let Some(settings) = &mut found {
            settings.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Option<Profile>, String> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        for (name, text) in files {
            std::fs::write(home.path().join(".aws").join(name), text).unwrap();
        }
        let mut variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        variables.push(("HOME".into(), home.path().display().to_string()));
        Profile::of(&variables.into_iter().collect())
            .map_err(|error| error.to_string().replace(home.path().to_str().unwrap(), "HOME"))
    }

    const CREDENTIALS: &str = "# a comment\n[default]\naws_access_key_id = A\naws_secret_access_key=S=\n\n[ci]\n\
        aws_access_key_id=C\naws_secret_access_key=D\naws_session_token=T\n";

    #[test]
    fn keys_region_and_endpoint_come_from_both_files() {
        let config = "[default]\nregion=eu-west-1\ns3 =\n  region = no\n[profile ci]\nendpoint_url = https://store.test\n";
        let files = [("credentials", CREDENTIALS), ("config", config)];
        let profile = with(&files, &[]).unwrap().unwrap();
        let keys = profile.keys.unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.token.as_deref()), ("A", "S=", None));
        assert_eq!((profile.region.as_deref(), profile.endpoint), (Some("eu-west-1"), None));
        let profile = with(&files, &[("AWS_PROFILE", "ci")]).unwrap().unwrap();
        assert_eq!(profile.keys.unwrap().token.as_deref(), Some("T"));
        assert_eq!(profile.endpoint.as_deref(), Some("https://store.test"));
    }

    #[test]
    fn the_environment_s_keys_go_first() {
        let profile = with(&[("credentials", CREDENTIALS)], &[("AWS_ACCESS_KEY_ID", "E")]).unwrap();
        assert!(profile.unwrap().keys.is_none());
        assert!(with(&[], &[]).unwrap().is_none());
        assert!(with(&[], &[("AWS_PROFILE", "ci"), ("AWS_ACCESS_KEY_ID", "E")]).unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let error = with(&[("credentials", CREDENTIALS)], &[("AWS_PROFILE", "prod")]).unwrap_err();
        assert_eq!(
            error,
            "the profile \"prod\" ($AWS_PROFILE) is in none of HOME/.aws/credentials, HOME/.aws/config"
        );
        let config = "[profile sso]\nsso_session = corp\n";
        let error = with(&[("config", config)], &[("AWS_PROFILE", "sso")]).unwrap_err();
        assert!(error.starts_with("the profile \"sso\" gets its keys by sso_session"), "{error}");
        let missing = with(&[], &[("AWS_SHARED_CREDENTIALS_FILE", "/proc/self")]).unwrap_err();
        assert!(missing.starts_with("read /proc/self: "), "{missing}");
    }
}
