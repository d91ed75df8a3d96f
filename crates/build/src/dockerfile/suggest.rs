//! "did you mean …?": the closest of the known words.

/// The option that differs from `word` by at most two edits, in the case of `word`. None if `word` is an option.
pub(crate) fn closest(word: &str, options: &[&str], any_case: bool) -> Option<String> {
    let fold = |text: &str| if any_case { text.to_lowercase() } else { text.to_owned() };
    let wanted = fold(word);
    let mut best: Option<(usize, &str)> = None;
    for option in options {
        let distance = edits(&wanted, &fold(option));
        if distance == 0 {
            return None;
        }
        if distance < best.map_or(3, |(found, _)| found) {
            best = Some((distance, option));
        }
    }
    let (_, option) = best?;
    Some(match any_case {
        true if word == word.to_lowercase() => option.to_lowercase(),
        true if word == word.to_uppercase() => option.to_uppercase(),
        _ => option.to_string(),
    })
}

/// The question that goes behind a message, if there is something to suggest.
pub(crate) fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|word| format!(" (did you mean {word}?)")).unwrap_or_default()
}

/// Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    // A long word is no misspelling; this also bounds the work.
    if a.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_near_words_in_the_same_case() {
        let options = ["FROM", "RUN", "COPY"];
        assert_eq!(closest("FORM", &options, true).as_deref(), Some("FROM"));
        assert_eq!(closest("form", &options, true).as_deref(), Some("from"));
        assert_eq!(closest("CPY", &options, true).as_deref(), Some("COPY"));
        assert_eq!(closest("BANANA", &options, true), None);
        assert_eq!(closest("RUN", &options, true), None);
        assert_eq!(closest("chonw", &["chown", "chmod"], false).as_deref(), Some("chown"));
    }
}
