//! `--chmod`: octal, or symbolic as chmod(1) takes it (`u=rwX,go=rX`, `a+x`, `-w`).

use crate::error::CopyError;

/// A change of permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModeChange {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `ugo+rwx`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits of user, group and others that the clause is about (07700, 02070, 01007 and unions).
    who: u32,
    actions: Vec<(char, Vec<char>)>,
}

impl ModeChange {
    pub(crate) fn parse(text: &str) -> Result<ModeChange, CopyError> {
        let bad = || CopyError::Chmod(text.to_owned());
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(ModeChange::Octal).ok_or_else(bad);
        }
        let clauses: Option<Vec<Clause>> = text.split(',').map(clause).collect();
        clauses.map(ModeChange::Symbolic).ok_or_else(bad)
    }

    /// The mode that a file with `mode` gets.
    pub(crate) fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            ModeChange::Octal(mode) => *mode,
            ModeChange::Symbolic(clauses) => {
                clauses.iter().fold(mode, |mode, clause| clause.apply(mode, is_dir))
            }
        }
    }
}

fn clause(text: &str) -> Option<Clause> {
    let operator = text.find(['+', '-', '='])?;
    let mut who = 0;
    for c in text[..operator].chars() {
        who |= match c {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let mut actions: Vec<(char, Vec<char>)> = Vec::new();
    for c in text[operator..].chars() {
        match c {
            '+' | '-' | '=' => actions.push((c, Vec::new())),
            'r' | 'w' | 'x' | 'X' | 's' | 't' | 'u' | 'g' | 'o' => actions.last_mut()?.1.push(c),
            _ => return None,
        }
    }
    Some(Clause { who: if who == 0 { 0o7777 } else { who }, actions })
}

impl Clause {
    fn apply(&self, mut mode: u32, is_dir: bool) -> u32 {
        for (operator, permissions) in &self.actions {
            let mut bits = 0;
            for permission in permissions {
                bits |= match permission {
                    'r' => 0o444,
                    'w' => 0o222,
                    'x' => 0o111,
                    'X' if is_dir || mode & 0o111 != 0 => 0o111,
                    's' => 0o6000,
                    't' => 0o1000,
                    'u' => (mode >> 6 & 7) * 0o111,
                    'g' => (mode >> 3 & 7) * 0o111,
                    'o' => (mode & 7) * 0o111,
                    _ => 0,
                };
            }
            let bits = bits & self.who;
            match operator {
                '+' => mode |= bits,
                '-' => mode &= !bits,
                _ => mode = (mode & !(self.who & 0o777)) | bits,
            }
        }
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_with_chmod() {
        for (text, mode, is_dir, expected) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, false, 0o644),
            ("4755", 0o644, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("u=rw,g=r,o=", 0o777, false, 0o640),
            ("u=rwX,go=rX", 0o644, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("g=u", 0o741, false, 0o771),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o777, true, 0o1777),
            ("g-w+x", 0o664, false, 0o654),
        ] {
            let change = ModeChange::parse(text).expect(text);
            assert_eq!(change.apply(mode, is_dir), expected, "{text} on {mode:o}");
        }
        for bad in ["", "8", "99999", "x", "u", "u+q", "z+x", "755x", "10000"] {
            let message = ModeChange::parse(bad).expect_err(bad).to_string();
            assert!(message.starts_with(&format!("invalid chmod parameter: '{bad}'")), "{message}");
        }
    }
}
