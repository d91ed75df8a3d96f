//! The password file: `user:bcrypt` lines, as Apache's `htpasswd -B` writes them. It is read again when it changes.
//!
//! A check takes a tenth of a second of one core, so few run at once, on threads that may be slow; what was right is
//! remembered for a while, as a keyed hash.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ring::hmac;
use tokio::sync::Semaphore;

use crate::api::Problem;
use crate::name::random_bytes;

/// How long a password that was right is not checked again.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How many are remembered.
const MOST: usize = 10_000;
/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many checks may wait; more are told to come back.
const WAITING: usize = 64;

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HtpasswdError {
    /// It cannot be read.
    #[error("password file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is none.
    #[error("password file {}, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which.
        line: usize,
        /// Why.
        problem: &'static str,
    },
}

/// A password file.
pub struct Htpasswd {
    path: PathBuf,
    state: Mutex<State>,
    key: hmac::Key,
    workers: Arc<Semaphore>,
    queue: Semaphore,
}

struct State {
    users: HashMap<String, String>,
    stamp: Option<SystemTime>,
    looked: Instant,
    right: HashMap<Vec<u8>, Instant>,
}

impl Htpasswd {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or a line of it is none.
    pub fn open(path: &Path) -> Result<Self, HtpasswdError> {
        let (users, stamp) = read(path)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            path: path.to_path_buf(),
            state: Mutex::new(State { users, stamp, looked: Instant::now(), right: HashMap::new() }),
            key: hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<32>()),
            workers: Arc::new(Semaphore::new(cores.div_ceil(2))),
            queue: Semaphore::new(WAITING),
        })
    }

    /// Whether this is the user's password.
    pub(super) async fn verify(&self, user: &str, password: &str) -> Result<bool, Problem> {
        let mark = hmac::sign(&self.key, format!("{user}\0{password}").as_bytes()).as_ref().to_vec();
        let (hash, known) = {
            let state = self.current();
            if state.right.get(&mark).is_some_and(|since| since.elapsed() < REMEMBERED) {
                return Ok(true);
            }
            // Where there is no such user, another's hash is checked, so that the answer takes as long.
            let known = state.users.get(user);
            let any = known.or_else(|| state.users.values().next().filter(|_| !user.is_empty()));
            let Some(hash) = any.cloned() else { return Ok(false) };
            (hash, known.is_some())
        };
        let _place = self.queue.try_acquire().map_err(|_| Problem::TooMany("too many logins at once"))?;
        let permit = self.workers.clone().acquire_owned().await.map_err(|_| Problem::Abandoned)?;
        let (password, checked) = (password.to_owned(), hash.clone());
        let check = move || {
            let _permit = permit;
            bcrypt::verify(password, &checked).unwrap_or(false)
        };
        let right = tokio::task::spawn_blocking(check).await.map_err(|_| Problem::Abandoned)? && known;
        if right {
            let mut state = self.current();
            if state.right.len() >= MOST {
                state.right.clear();
            }
            // The password may have been changed while it was checked.
            if state.users.get(user) == Some(&hash) {
                state.right.insert(mark, Instant::now());
            }
        }
        Ok(right)
    }

    /// The hash of a user's password.
    pub(super) fn hash(&self, user: &str) -> Option<String> {
        self.current().users.get(user).cloned()
    }

    /// Whether there still is such a user.
    pub(super) fn knows(&self, user: &str) -> bool {
        self.current().users.contains_key(user)
    }

    /// The users as the file has them now. A file that has become unreadable leaves them as they were.
    fn current(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() < LOOK {
            return state;
        }
        state.looked = Instant::now();
        if modified(&self.path) == state.stamp {
            return state;
        }
        match read(&self.path) {
            Ok((users, stamp)) => {
                (state.users, state.stamp) = (users, stamp);
                state.right.clear();
            }
            Err(error) => tracing::error!(%error, "the password file is kept as it was"),
        }
        state
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

type Users = (HashMap<String, String>, Option<SystemTime>);

fn read(path: &Path) -> Result<Users, HtpasswdError> {
    // Looked at first: a change while it is read is then seen the next time.
    let stamp = modified(path);
    let text =
        std::fs::read_to_string(path).map_err(|source| HtpasswdError::Read { path: path.into(), source })?;
    let mut users = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |problem| HtpasswdError::Line { path: path.into(), line: number, problem };
        let (user, hash) = line.split_once(':').ok_or_else(|| wrong("it is not user:hash"))?;
        let bcrypt = ["$2a$", "$2b$", "$2x$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix));
        if user.is_empty() || hash.len() != 60 || !bcrypt {
            return Err(wrong("only bcrypt hashes are taken: make the line with htpasswd -B"));
        }
        users.insert(user.to_owned(), hash.to_owned());
    }
    Ok((users, stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str, password: &str) -> String {
        format!("{user}:{}\n", bcrypt::hash(password, 4).unwrap())
    }

    #[tokio::test]
    async fn passwords_are_checked_and_a_changed_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        std::fs::write(&path, format!("# users\n\n{}", line("ann", "secret"))).unwrap();
        let file = Htpasswd::open(&path).unwrap();
        for _ in 0..2 {
            assert!(file.verify("ann", "secret").await.unwrap());
            assert!(!file.verify("ann", "wrong").await.unwrap());
            assert!(!file.verify("bob", "secret").await.unwrap());
        }
        std::fs::write(&path, line("bob", "other")).unwrap();
        file.state.lock().unwrap().stamp = None;
        file.state.lock().unwrap().looked -= LOOK;
        assert!(!file.verify("ann", "secret").await.unwrap(), "what was remembered is forgotten");
        assert!(file.verify("bob", "other").await.unwrap());
    }

    #[test]
    fn what_is_no_bcrypt_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("htpasswd");
        std::fs::write(&path, "ann:$apr1$x$y\n").unwrap();
        let error = Htpasswd::open(&path).err().unwrap().to_string();
        assert!(error.contains("line 1: only bcrypt"), "{error}");
        assert!(Htpasswd::open(&dir.path().join("none")).is_err());
    }
}
