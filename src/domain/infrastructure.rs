//! The closed sets of the application's infrastructure tables: which service, which metric, how urgent a
//! recommendation is and where it stands. Their names are the application's, on both engines and in every
//! answer.

/// A name that is not in the set it should be of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no {set}; there are {known}")]
pub struct UnknownName {
    /// What was given.
    pub name: String,
    /// What it should have been, for people.
    pub set: &'static str,
    /// The names there are.
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

        impl $crate::domain::infrastructure::Named for $type {
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
                f.pad($crate::domain::infrastructure::Named::as_str(*self))
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::domain::infrastructure::UnknownName;

            fn from_str(name: &str) -> Result<$type, Self::Err> {
                let member = <$type as $crate::domain::infrastructure::Named>::named(name);
                member.ok_or_else(|| $crate::domain::infrastructure::UnknownName {
                    name: name.to_owned(),
                    set: $set,
                    known: [$($name),+].join(", "),
                })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::domain::infrastructure::Named::as_str(*self))
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

named! {
    /// A service that is monitored. The names are those of the application, which outlived what they were
    /// given for: VERCEL_KV is a key-value store at Upstash today, VERCEL_POSTGRES a database at Neon.
    Service, "service" {
        /// The key-value store.
        VercelKv = "VERCEL_KV",
        /// The PostgreSQL database.
        VercelPostgres = "VERCEL_POSTGRES",
        /// The hosting platform as a whole.
        VercelPlatform = "VERCEL_PLATFORM",
        /// Builds.
        VercelBuild = "VERCEL_BUILD",
        /// Functions.
        VercelFunctions = "VERCEL_FUNCTIONS",
        /// Data transfer.
        VercelBandwidth = "VERCEL_BANDWIDTH",
        /// Requests at the edge.
        VercelEdgeRequests = "VERCEL_EDGE_REQUESTS",
        /// Reads of incrementally generated pages.
        VercelIsrReads = "VERCEL_ISR_READS",
        /// OpenAI's API.
        AiOpenai = "AI_OPENAI",
        /// The application's own credits for AI.
        AiCredits = "AI_CREDITS",
    }
}

named! {
    /// What is measured, with its unit in the name.
    Metric, "metric" {
        /// Megabytes stored (10^6 bytes).
        StorageMb = "STORAGE_MB",
        /// Gigabytes stored (10^9 bytes).
        StorageGb = "STORAGE_GB",
        /// Commands on one day.
        CommandsPerDay = "COMMANDS_PER_DAY",
        /// Connections open.
        Connections = "CONNECTIONS",
        /// Milliseconds of a round trip.
        LatencyMs = "LATENCY_MS",
        /// Gigabytes transferred (10^9 bytes) in the billing period.
        BandwidthGb = "BANDWIDTH_GB",
        /// Calls of functions in the billing period.
        Invocations = "INVOCATIONS",
        /// Minutes of building in the billing period.
        BuildMinutes = "BUILD_MINUTES",
        /// Requests in the billing period.
        RequestCount = "REQUEST_COUNT",
        /// US dollars spent in the billing period.
        CostUsd = "COST_USD",
        /// Percent of something used.
        UsagePercent = "USAGE_PERCENT",
    }
}

named! {
    /// How urgent a recommendation is, from the least.
    Priority, "priority" {
        /// It can wait.
        Low = "LOW",
        /// Plan it.
        Medium = "MEDIUM",
        /// Soon.
        High = "HIGH",
        /// Now.
        Critical = "CRITICAL",
    }
}

named! {
    /// Where a recommendation stands.
    Status, "status" {
        /// Nobody has looked at it.
        Pending = "PENDING",
        /// Somebody has looked at it.
        Reviewed = "REVIEWED",
        /// It shall be done; its figures are frozen.
        Approved = "APPROVED",
        /// It was done.
        Implemented = "IMPLEMENTED",
        /// It shall not be done.
        Dismissed = "DISMISSED",
        /// Its reason is gone.
        Expired = "EXPIRED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_others_are_refused_with_what_there_is() {
        for service in Service::ALL {
            assert_eq!(service.as_str().parse(), Ok(*service));
        }
        assert_eq!("storage_mb".parse(), Ok(Metric::StorageMb));
        let error = "URGENT".parse::<Priority>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`URGENT` is no priority; there are LOW, MEDIUM, HIGH, CRITICAL"
        );
        assert!(Priority::Low < Priority::Critical);
    }
}
