//! What a container runs: the image's configuration with the request's over it, by Docker's rules.

use dray_api::container::{Argv, ContainerConfig, HealthConfig};

use super::validate::Invalid;

/// Fills what the request leaves open from the image's configuration.
pub fn merge(request: &mut ContainerConfig, image: &ContainerConfig) {
    let fill = |field: &mut String, default: &String| {
        if field.is_empty() {
            field.clone_from(default);
        }
    };
    fill(&mut request.user, &image.user);
    fill(&mut request.working_dir, &image.working_dir);
    fill(&mut request.stop_signal, &image.stop_signal);
    union(&mut request.exposed_ports, image.exposed_ports.as_ref());
    union(&mut request.volumes, image.volumes.as_ref());
    merge_env(request, image);
    let labels = request.labels.get_or_insert_default();
    for (key, value) in image.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    if is_empty(request.entrypoint.as_ref()) {
        if is_empty(request.cmd.as_ref()) {
            request.cmd.clone_from(&image.cmd);
        }
        // An entry point of [] (not null) is one that the request has emptied.
        if request.entrypoint.is_none() {
            request.entrypoint.clone_from(&image.entrypoint);
        }
    }
    if request.shell.is_none() {
        request.shell.clone_from(&image.shell);
    }
    if let Some(image) = &image.healthcheck {
        match &mut request.healthcheck {
            None => request.healthcheck = Some(image.clone()),
            Some(request) => merge_healthcheck(request, image),
        }
    }
}

/// Takes away an entry point of `[""]`, and sees that there is something to run.
///
/// # Errors
/// `no command specified`.
pub fn require_command(config: &mut ContainerConfig) -> Result<(), Invalid> {
    if config.entrypoint.as_ref().is_some_and(|argv| matches!(argv.as_slice(), [only] if only.is_empty())) {
        config.entrypoint = None;
    }
    if is_empty(config.entrypoint.as_ref()) && is_empty(config.cmd.as_ref()) {
        return Err(Invalid::NoCommand);
    }
    Ok(())
}

/// The program and its arguments.
pub fn command(config: &ContainerConfig) -> (String, Vec<String>) {
    let words = |argv: &Option<Argv>| argv.iter().flat_map(|argv| argv.iter().cloned()).collect::<Vec<_>>();
    let mut argv = words(&config.entrypoint);
    argv.extend(words(&config.cmd));
    if argv.is_empty() { (String::new(), argv) } else { (argv.remove(0), argv) }
}

fn is_empty(argv: Option<&Argv>) -> bool {
    argv.is_none_or(|argv| argv.is_empty())
}

fn union(request: &mut Option<dray_api::StringSet>, image: Option<&dray_api::StringSet>) {
    if let Some(image) = image.filter(|set| !set.is_empty()) {
        request.get_or_insert_default().extend(image.iter().map(|(key, value)| (key.clone(), *value)));
    }
}

fn merge_env(request: &mut ContainerConfig, image: &ContainerConfig) {
    let key = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    if request.env.as_ref().is_none_or(Vec::is_empty) {
        request.env.clone_from(&image.env);
        return;
    }
    let env = request.env.get_or_insert_default();
    let given: Vec<String> = env.iter().map(|line| key(line)).collect();
    env.extend(image.env.iter().flatten().filter(|line| !given.contains(&key(line))).cloned());
}

fn merge_healthcheck(request: &mut HealthConfig, image: &HealthConfig) {
    if is_empty(request.test.as_ref()) {
        request.test.clone_from(&image.test);
    }
    let fill = |field: &mut i64, default: i64| {
        if *field == 0 {
            *field = default;
        }
    };
    fill(&mut request.interval, image.interval);
    fill(&mut request.timeout, image.timeout);
    fill(&mut request.start_period, image.start_period);
    fill(&mut request.start_interval, image.start_interval);
    fill(&mut request.retries, image.retries);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Option<Argv> {
        Some(Argv(words.iter().map(|word| (*word).to_owned()).collect()))
    }

    fn image() -> ContainerConfig {
        ContainerConfig {
            entrypoint: argv(&["/entry"]),
            cmd: argv(&["serve"]),
            env: Some(vec!["PATH=/bin".into(), "MODE=slow".into()]),
            user: "app".into(),
            ..ContainerConfig::default()
        }
    }

    fn run(mut request: ContainerConfig) -> Result<(String, Vec<String>), String> {
        merge(&mut request, &image());
        require_command(&mut request).map_err(|error| error.to_string())?;
        Ok(command(&request))
    }

    #[test]
    fn entrypoint_and_cmd() {
        let ran = |entrypoint, cmd| run(ContainerConfig { entrypoint, cmd, ..ContainerConfig::default() });
        let words = |program: &str, args: &[&str]| {
            Ok((program.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>()))
        };
        assert_eq!(ran(None, None), words("/entry", &["serve"]));
        assert_eq!(ran(None, argv(&["ls"])), words("/entry", &["ls"]));
        assert_eq!(ran(argv(&["sh"]), None), words("sh", &[]));
        assert_eq!(ran(argv(&["sh"]), argv(&["-c"])), words("sh", &["-c"]));
        assert_eq!(ran(argv(&[]), argv(&["ls"])), words("ls", &[]));
        assert_eq!(ran(argv(&[""]), argv(&["ls"])), words("ls", &[]));
        assert_eq!(ran(argv(&[""]), None), Err("no command specified".into()));
    }

    #[test]
    fn request_wins_over_image() {
        let mut request = ContainerConfig {
            env: Some(vec!["MODE=fast".into(), "EMPTY".into()]),
            user: "root".into(),
            ..ContainerConfig::default()
        };
        merge(&mut request, &image());
        assert_eq!(request.env.unwrap(), ["MODE=fast", "EMPTY", "PATH=/bin"]);
        assert_eq!(request.user, "root");
    }
}
