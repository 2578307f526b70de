//! The closed sets of the application's infrastructure tables: services, metrics, priorities and statuses. The names
//! are the application's, in both engines and in every answer.

use crate::domain::named::named;

named! {
    /// A monitored service. The names are the application's historical ones: VERCEL_KV is a key-value store at
    /// Upstash today, VERCEL_POSTGRES a database at Neon.
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
    /// A measured quantity, with its unit in the name.
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
    /// How the usage of a limit follows from the measurements of its metric.
    Measure, "measure" {
        /// The newest reading.
        Level = "LEVEL",
        /// The highest reading of the last day.
        Peak = "PEAK",
        /// The sum of a billing period, in the provider's zone and from its anchor day.
        Amount = "AMOUNT",
        /// A rate derived from another limit: advisory, never critical.
        Pace = "PACE",
    }
}

impl Measure {
    /// The measure of a metric whose values are of this kind.
    pub fn of(metric: Metric, kind: MetricKind) -> Measure {
        match (metric, kind) {
            (Metric::CommandsPerDay, _) => Measure::Pace,
            // A pool is exhausted at its peak.
            (Metric::Connections, MetricKind::Gauge) | (_, MetricKind::Rate) => Measure::Peak,
            (_, MetricKind::Gauge) => Measure::Level,
            (_, MetricKind::Period) => Measure::Amount,
        }
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
    /// The status of a recommendation.
    Status, "status" {
        /// Not reviewed yet.
        Pending = "PENDING",
        Reviewed = "REVIEWED",
        /// Its figures are frozen.
        Approved = "APPROVED",
        Implemented = "IMPLEMENTED",
        Dismissed = "DISMISSED",
        /// Its reason no longer holds.
        Expired = "EXPIRED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::named::Named;

    #[test]
    fn names_round_trip_and_unknown_names_list_the_known_ones() {
        for service in Service::ALL {
            assert_eq!(service.as_str().parse(), Ok(*service));
        }
        assert_eq!("storage_mb".parse(), Ok(Metric::StorageMb));
        let error = "URGENT".parse::<Priority>().unwrap_err().to_string();
        let expected = "invalid priority `URGENT`; expected one of LOW, MEDIUM, HIGH, CRITICAL";
        assert_eq!(error, expected);
        assert!(Priority::Low < Priority::Critical);
    }
}
