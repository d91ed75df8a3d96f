//! `--change` of import and commit: Dockerfile instructions applied to a configuration.

use dray_build::config::Edits;
use dray_build::dockerfile::parse_changes;
use dray_spec::RunConfig;

use super::Error;

/// Applies the instructions one after the other.
///
/// # Errors
/// For what is no instruction, or one that does not change a configuration.
pub(super) fn apply(config: &mut RunConfig, changes: &[String]) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut edits = Edits::default();
    for instruction in parse_changes(&changes.join("\n"))? {
        let name = instruction.command.name();
        if edits.apply(config, &instruction.command)?.is_none() {
            return Err(Error::NoChange(name.to_ascii_lowercase()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration() {
        let mut config = RunConfig::default();
        apply(&mut config, &[]).unwrap();
        let changes = ["CMD [\"true\"]", "ENV A=b", "EXPOSE 80", "USER nobody"].map(String::from);
        apply(&mut config, &changes).unwrap();
        assert_eq!(config.cmd, Some(vec!["true".to_owned()]));
        assert_eq!(config.user, "nobody");
        apply(&mut config, &[]).unwrap();
        assert!(apply(&mut config, &["RUN true".to_owned()]).is_err());
        assert!(apply(&mut config, &["NONSENSE x".to_owned()]).is_err());
    }
}
