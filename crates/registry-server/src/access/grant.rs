//! What somebody may do to which repositories, as token scopes say it: `repository:team/app:pull,push`.

use serde::{Deserialize, Serialize};

use crate::name::Repository;
use crate::pattern::Pattern;

/// What may be done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Read.
    Pull,
    /// Write.
    Push,
    /// Delete.
    Delete,
}

impl Action {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// Some actions on some repositories, in the form that tokens carry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// `repository` or `registry`.
    #[serde(rename = "type")]
    kind: String,
    /// A repository, or a pattern of them; `catalog` of a registry.
    name: String,
    /// `pull`, `push`, `delete` or `*`.
    actions: Vec<String>,
}

impl Grant {
    /// Reads a scope, `type:name:action,action`; a name may hold colons.
    #[must_use]
    pub fn parse(scope: &str) -> Option<Self> {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        // `repository(plugin)` is a repository too.
        let kind = kind.split('(').next().unwrap_or(kind);
        let actions = actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect();
        Some(Self { kind: kind.to_owned(), name: name.to_owned(), actions })
    }

    /// Reads scopes separated by blanks.
    #[must_use]
    pub fn list(scopes: &str) -> Vec<Self> {
        scopes.split_ascii_whitespace().filter_map(Self::parse).collect()
    }

    /// These actions on one repository.
    #[must_use]
    pub fn exactly(repository: &Repository, actions: &[Action]) -> Self {
        let actions = actions.iter().map(|action| action.as_str().to_owned()).collect();
        Self { kind: "repository".into(), name: repository.as_str().to_owned(), actions }
    }

    /// Whether it lets the list of repositories be read.
    #[must_use]
    pub fn is_catalog(&self) -> bool {
        self.kind == "registry" && self.name == "catalog"
    }

    /// The one repository that it is about, if it is.
    #[must_use]
    pub fn repository(&self) -> Option<Repository> {
        if self.kind == "repository" { Repository::parse(&self.name) } else { None }
    }

    /// The actions that it names.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        let all = [Action::Pull, Action::Push, Action::Delete];
        all.into_iter().filter(|action| self.names(*action)).collect()
    }

    fn names(&self, action: Action) -> bool {
        self.actions.iter().any(|name| name == "*" || name == action.as_str())
    }

    /// Whether it lets this be done.
    #[must_use]
    pub fn allows(&self, repository: &Repository, action: Action) -> bool {
        self.kind == "repository" && self.names(action) && Pattern::new(&*self.name).fits(repository.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read() {
        let name = |text: &str| Repository::parse(text).unwrap();
        let grant = Grant::parse("repository:team/*:pull,push").unwrap();
        assert!(grant.allows(&name("team/app"), Action::Push));
        assert!(!grant.allows(&name("team/app"), Action::Delete));
        assert!(!grant.allows(&name("team/app/x"), Action::Pull));
        assert!(Grant::parse("repository:a:*").unwrap().allows(&name("a"), Action::Delete));
        assert!(Grant::parse("registry:catalog:*").unwrap().is_catalog());
        assert_eq!(Grant::parse("repository(plugin):a/b:pull").unwrap().repository(), Some(name("a/b")));
        assert!(Grant::parse("nonsense").is_none());
        assert_eq!(Grant::list(" repository:a:pull  x repository:b:push ").len(), 2);
    }
}
