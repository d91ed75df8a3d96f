use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn word(text: &str, env: &dyn Env) -> String {
    match Expander::new('\\').word(text, env) {
        Ok(word) => word,
        Err(ExpandError::InWord { source, .. }) => format!("error: {source}"),
        Err(other) => format!("error: {other}"),
    }
}

/// text | result; `error` alone stands for any error.
const TABLE: &str = r#"
plain                     | plain
it'''s                    | error
'a b'c                    | a bc
\'q                       | 'q
a\tb                      | atb
"a\tb"                    | a\tb
"a\\b"                    | a\b
'a\b'                     | a\b
"say \"x\""               | say "x"
"it's"                    | it's
'"'                       | "
"open                     | error
'open                     | error
tail\                     | tail
tail\\                    | tail\
$HOME                     | /root
$HOME/bin                 | /root/bin
pre$HOME.                 | pre/root.
"$HOME"                   | /root
'$HOME'                   | $HOME
\$HOME                    | $HOME
\\$HOME                   | \/root
"\$HOME"                  | $HOME
$                         | $
$.                        | $.
a$                        | a$
$unset                    |
x${unset}y                | xy
${HOME}x                  | /rootx
${HOME                    | error: unsupported modifier (�) in substitution
${                        | error: syntax error: missing '}'
${}                       | error: syntax error: bad substitution
${{x}                     | error: syntax error: bad substitution
${:-x}                    | error: syntax error: bad substitution
${.}                      | error: unsupported modifier (.) in substitution
${HOME}}                  | /root}
\${HOME}                  | ${HOME}
$1x                       | x
${1:-arg}                 | arg
$12ab                     | ab
$@@                       | @
$$                        |
${-:-d}                   | d
${unset:-word}            | word
${EMPTY:-word}            | word
${EMPTY-word}             |
${unset-word}             | word
${HOME:-word}             | /root
${unset:-$HOME}           | /root
${unset:-${other:-deep}}  | deep
${unset:-"a b"}           | a b
${unset:-\}}              | }
${unset:-\$HOME}          | $HOME
${unset:-a                | error: syntax error: missing '}'
${HOME:+set}              | set
${EMPTY:+set}             |
${EMPTY+set}              | set
${unset+set}              |
${HOME:+${unset}}         |
${HOME:?}                 | /root
${unset?}                 | error: unset: is not allowed to be unset
${EMPTY?}                 |
${EMPTY:?}                | error: EMPTY: is not allowed to be empty
${unset:?give it}         | error: unset: give it
${HOME:=x}                | error: unsupported modifier (:=) in substitution
${HOME=x}                 | error: unsupported modifier (=) in substitution
${HOME:#x}                | error: unsupported modifier (:#) in substitution
${FILE#*.}                | tar.gz
${FILE##*.}               | gz
${FILE%.*}                | a.tar
${FILE%%.*}               | a
${FILE#b}                 | a.tar.gz
${FILE%g?}                | a.tar.
${FILE##*}                |
${FILE#*}                 | a.tar.gz
${STARS#\*}               | a*
${STARS%\*}               | *a
${BRACE#\}}               | x
${FILE#\z}                | error: invalid pattern (\z) in substitution: invalid escape '\z'
${FILE/a/o}               | o.tar.gz
${FILE//a/o}              | o.tor.gz
${FILE//[/o}              | a.tar.gz
${FILE/.*/}               | a
${FILE//?/x}              | xxxxxxxx
${FILE/tar                | error: syntax error: missing '/' in ${}
${FILE/tar/x              | error: syntax error: missing '}'
${SLASH//\//-}            | a-b-c
${SLASH//a/$HOME}         | /root/b/c
${FILE//*/x}              | x
${FILE/$T/zip}            | a.zip.gz
héé$HOME                  | héé/root
$한글                     | hangul
"#;

#[test]
fn expansion_table() {
    let env = env(&[
        ("HOME", "/root"),
        ("EMPTY", ""),
        ("FILE", "a.tar.gz"),
        ("STARS", "*a*"),
        ("BRACE", "}x"),
        ("SLASH", "a/b/c"),
        ("T", "tar"),
        ("한글", "hangul"),
    ]);
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let (text, expected) = line.split_once('|').expect("a column");
        let (text, expected) = (text.trim(), expected.trim());
        let result = word(text, &env);
        if expected == "error" {
            assert!(result.starts_with("error: "), "{text:?} gave {result:?}");
        } else {
            assert_eq!(result, expected, "for {text:?}");
        }
    }
}

#[test]
fn words_are_split_after_expansion_unless_quoted() {
    let env = env(&[("P", "80 443"), ("E", "")]);
    let words = |text| Expander::new('\\').words(text, &env).expect("valid");
    assert_eq!(words("$P"), ["80", "443"]);
    assert_eq!(words("\"$P\""), ["80 443"]);
    assert_eq!(words("a$P b"), ["a80", "443", "b"]);
    assert_eq!(words("a\\ b  c"), ["a b", "c"]);
    assert_eq!(words("$E '' x"), ["x"]);
    assert_eq!(words("cat << EOF >f"), ["cat", "<< EOF", ">f"]);
}

#[test]
fn the_escape_character_can_be_a_backtick() {
    let env = env(&[("A", "1")]);
    let expander = Expander::new('`');
    assert_eq!(expander.word("C:\\x`$A$A", &env).expect("valid"), "C:\\x$A1");
}

#[test]
fn unset_references_can_be_kept() {
    let expander = Expander { keep_unset: true, raw_quotes: true, ..Expander::new('\\') };
    let env = env(&[("A", "1")]);
    assert_eq!(
        expander.word("\"$A\" $B ${B} ${B:-x} ${B/x/y}", &env).expect("valid"),
        "\"1\" $B ${B} ${B:-x} ${B/x/y}"
    );
}

#[test]
fn heredoc_content_keeps_its_quotes() {
    let expander = Expander { ignore_quotes: true, ..Expander::new('\\') };
    let env = env(&[("A", "1")]);
    assert_eq!(expander.word("it's \"$A\" \\$A", &env).expect("valid"), "it's \"1\" $A");
}

#[test]
fn nesting_is_bounded() {
    let text = format!("{}x{}", "${a:-".repeat(5000), "}".repeat(5000));
    assert!(Expander::new('\\').word(&text, &NoEnv).is_err());
}

proptest::proptest! {
    #[test]
    fn expansion_never_panics(text in "\\PC*", braces in "[${}:/#%*?a\\\\'\"-]*") {
        let env = env(&[("a", "value"), ("b", "")]);
        let _ = Expander::new('\\').words(&text, &env);
        let _ = Expander::new('\\').words(&braces, &env);
    }
}
