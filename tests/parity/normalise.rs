//! Replaces what differs between any two runs: ids, digests, times, addresses, random ports.

/// The text with everything that is particular to a run replaced by a word for it.
pub fn normalise(text: &str) -> String {
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn line(line: &str) -> String {
    let words: Vec<String> = line.split_inclusive(|c: char| !is_word(c)).map(word).collect();
    collapse(&times(&words.concat()))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric()
}

/// A word with the one separator that ends it.
fn word(text: &str) -> String {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let hexadecimal = word.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let kept = match word.len() {
        64 if hexadecimal => "<id>",
        12 if hexadecimal => "<short id>",
        _ => word,
    };
    format!("{kept}{rest}")
}

/// `3 seconds ago`, `About a minute ago`, `Up 2 seconds`, and RFC 3339 stamps.
fn times(line: &str) -> String {
    let mut line = line.to_owned();
    for unit in
        ["second", "seconds", "minute", "minutes", "hour", "hours", "years", "months", "weeks", "days"]
    {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for n in 1..words.len() {
            let bare = words[n].trim_end_matches(',');
            if bare == unit
                && (words[n - 1].parse::<u32>().is_ok() || words[n - 1] == "a" || words[n - 1] == "an")
            {
                words[n] = "<time>".into();
                words[n - 1].clear();
            }
        }
        line = words.join(" ");
    }
    line.replace("Less than ", "").replace("About ", "")
}

/// Column widths follow the longest cell, which ids and times change.
fn collapse(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn ids_and_times_lose_their_identity() {
    let id = "ab".repeat(32);
    assert_eq!(normalise(&format!("sha256:{id} x")), "sha256:<id> x");
    assert_eq!(normalise("0123456789ab   Up 3 seconds   web"), "<short id> Up <time> web");
    assert_eq!(normalise("Exited (0) Less than a second ago"), "Exited (0) <time> ago");
}
