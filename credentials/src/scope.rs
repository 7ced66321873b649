//! What an access key may do: a set of five things, which are the same on every way to the files.

use std::fmt;

/// One thing that may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The bytes of files, what is known of one, and the evidence for it.
    Read,
    /// Storing, in all its steps.
    Write,
    /// Which files there are.
    List,
    /// Taking stored files away.
    Delete,
    /// The account itself: credits, nodes, payouts.
    Account,
}

impl Scope {
    /// In the order in which they are told.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::List,
        Self::Delete,
        Self::Account,
    ];

    /// As clients write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Account => "account",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no scope, or no word at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopesError {
    /// A key that may do nothing is a mistake.
    #[error("a key needs at least one scope of read, write, list, delete and account")]
    None,
    /// Not one of the five.
    #[error("`{0}` is no scope: there are read, write, list, delete and account")]
    Unknown(String),
}

/// Some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Of whoever has logged in with a password.
    pub const ALL: Self = Self(0b1_1111);

    /// Those with these names, at least one.
    pub fn named<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> Result<Self, ScopesError> {
        let mut scopes = Self(0);
        for name in names {
            let name = name.as_ref();
            let scope = Scope::ALL.into_iter().find(|scope| scope.name() == name);
            // Of what a stranger writes no more is shown again than anybody needs.
            let scope =
                scope.ok_or_else(|| ScopesError::Unknown(name.chars().take(32).collect()))?;
            scopes.0 |= scope.bit();
        }
        match scopes.0 {
            0 => Err(ScopesError::None),
            _ => Ok(scopes),
        }
    }

    /// Whether it is one of them.
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Their names, each once.
    pub fn names(self) -> Vec<String> {
        let all = Scope::ALL.into_iter();
        all.filter(|scope| self.contains(*scope))
            .map(|scope| scope.name().to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_told_once_and_in_one_order() {
        let scopes = Scopes::named(["delete", "read", "delete"]).unwrap();
        assert_eq!(scopes.names(), ["read", "delete"]);
        assert_eq!(Scopes::named(Scopes::ALL.names()).unwrap(), Scopes::ALL);
        for scope in Scope::ALL {
            let one = Scopes::named([scope.name()]).unwrap();
            let has = Scope::ALL.into_iter().filter(|scope| one.contains(*scope));
            assert_eq!(has.collect::<Vec<_>>(), [scope]);
        }
    }

    #[test]
    fn a_key_without_scopes_and_one_with_an_unknown_scope_are_refused() {
        assert_eq!(Scopes::named::<&str>([]), Err(ScopesError::None));
        let unknown = Scopes::named(["read", "Write"]);
        assert_eq!(unknown, Err(ScopesError::Unknown("Write".to_owned())));
        let long = Scopes::named(["é".repeat(1000)]);
        assert_eq!(long, Err(ScopesError::Unknown("é".repeat(32))));
    }
}
