//! Commands that Docker's client has and this one has not, each with the reason: who types one hears why it is missing
//! instead of that nobody knows it.

/// Docker's words and why they are not there.
const ABSENT: &[(&[&str], &str)] = &[
    (
        &["config", "node", "secret", "service", "stack", "swarm"],
        "Dray runs containers on one machine and has no swarm mode",
    ),
    (&["plugin"], "Dray has no engine plugins: volumes, networks and logs are built in"),
    (&["checkpoint"], "Dray does not freeze containers to disk (Docker has it as an experiment)"),
    (&["trust"], "Dray does not know Docker Content Trust, whose servers are being retired"),
    (&["manifest"], "Dray does not edit manifest lists"),
];

/// Why a command of Docker's is not there; none for a word that Docker does not know either.
pub fn reason(word: &str) -> Option<&'static str> {
    ABSENT.iter().find(|(words, _)| words.contains(&word)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_explained_and_what_is_there_is_not() {
        assert!(reason("swarm").is_some_and(|why| why.contains("swarm mode")));
        assert_eq!(reason("nosuch"), None);
        let mut words = ABSENT.iter().flat_map(|(words, _)| *words);
        assert!(words.all(|word| super::super::find(word).is_none()));
    }
}
