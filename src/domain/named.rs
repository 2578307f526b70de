//! Closed sets whose members have names: one macro makes the enum, its text form and its parser.

/// A name that is not in the set it should be of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {set}; there are {known}")]
pub struct UnknownName {
    pub name: String,
    /// What it should have been, for people.
    pub set: &'static str,
    pub known: String,
}

/// A closed set whose members have names.
pub trait Named: Copy + Sized + 'static {
    /// What a member is, for people.
    const SET: &'static str;
    /// All members, in the application's order.
    const ALL: &'static [Self];

    /// The application's name of it.
    fn as_str(self) -> &'static str;

    /// The member of this name, whatever the case of its letters.
    fn named(name: &str) -> Option<Self> {
        let same = |member: &&Self| member.as_str().eq_ignore_ascii_case(name);
        Self::ALL.iter().find(same).copied()
    }
}

/// Makes a closed set whose members have names.
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
