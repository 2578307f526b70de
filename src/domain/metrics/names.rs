//! The closed sets of the application's infrastructure tables: which service, which metric, how urgent a
//! recommendation is and where it stands. Their names are the application's, on both engines and in every
//! answer.

use crate::domain::named::named;

named! {
    /// A service that is monitored. The names are those of the application, which outlived what they were
    /// given for: VERCEL_KV is a key-value store at Upstash today, VERCEL_POSTGRES a database at Neon.
    Service, "service" {
        VercelKv = "VERCEL_KV",
        VercelPostgres = "VERCEL_POSTGRES",
        /// The hosting platform as a whole.
        VercelPlatform = "VERCEL_PLATFORM",
        VercelBuild = "VERCEL_BUILD",
        VercelFunctions = "VERCEL_FUNCTIONS",
        VercelBandwidth = "VERCEL_BANDWIDTH",
        /// Requests at the edge.
        VercelEdgeRequests = "VERCEL_EDGE_REQUESTS",
        /// Reads of incrementally generated pages.
        VercelIsrReads = "VERCEL_ISR_READS",
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
    /// How the values of a metric follow each other, and so how they are compared with a limit.
    MetricKind, "kind" {
        /// A level that rises and falls.
        Gauge = "GAUGE",
        /// Usage since the billing period began; starts at zero in the next.
        Period = "PERIOD",
        /// A speed, latency or concurrency: compared with its peak, never forecast.
        Rate = "RATE",
    }
}

named! {
    /// How urgent a recommendation is, from the least.
    Priority, "priority" {
        Low = "LOW",
        Medium = "MEDIUM",
        High = "HIGH",
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
    use crate::domain::named::Named;

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
