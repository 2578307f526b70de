//! Enums with stored names: one macro makes the enum, its Display, FromStr and serde forms.

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {set} `{name}`; expected one of {known}")]
pub struct UnknownName {
    pub name: String,
    /// What a variant is, in messages.
    pub set: &'static str,
    pub known: String,
}

/// What names of providers and plans are compared by: neither case nor spaces distinguish them.
pub fn name_key(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// An enum whose variants have names.
pub trait Named: Copy + Sized + 'static {
    /// What a variant is, in messages.
    const SET: &'static str;
    const ALL: &'static [Self];

    fn as_str(self) -> &'static str;

    /// The variant of this name, in upper or lower case.
    fn named(name: &str) -> Option<Self> {
        let same = |member: &&Self| member.as_str().eq_ignore_ascii_case(name);
        Self::ALL.iter().find(same).copied()
    }
}

/// Makes an enum whose variants have names.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $set:literal { $($(#[$member_doc:meta])* $member:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type {
            $($(#[$member_doc])* $member,)+
        }

        impl $crate::domain::named::Named for $type {
            const SET: &'static str = $set;
            const ALL: &'static [$type] = &[$($type::$member),+];

            fn as_str(self) -> &'static str {
                match self {
                    $($type::$member => $name,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad($crate::domain::named::Named::as_str(*self))
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::domain::named::UnknownName;

            fn from_str(name: &str) -> Result<$type, Self::Err> {
                let member = <$type as $crate::domain::named::Named>::named(name);
                member.ok_or_else(|| $crate::domain::named::UnknownName {
                    name: name.to_owned(),
                    set: $set,
                    known: [$($name),+].join(", "),
                })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::domain::named::Named::as_str(*self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let name = <String as serde::Deserialize>::deserialize(deserializer)?;
                name.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use named;

/// Makes an enum whose variants have names, and one for any other name that another program may write.
macro_rules! open_named {
    ($(#[$doc:meta])* $type:ident { $($(#[$member_doc:meta])* $member:ident = $name:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type {
            $($(#[$member_doc])* $member,)+
            Other(String),
        }

        impl $type {
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            pub fn named(name: &str) -> $type {
                match name {
                    $($name => $type::$member,)+
                    name => $type::Other(name.to_owned()),
                }
            }

            pub fn as_str(&self) -> &str {
                match self {
                    $($type::$member => $name,)+
                    $type::Other(name) => name,
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use open_named;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_spaces_do_not_distinguish_names() {
        assert_eq!(name_key(" Amazon  Web services"), "amazon web services");
    }
}
