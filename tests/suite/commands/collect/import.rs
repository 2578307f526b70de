//! Metrics from files and by hand.

use crate::support::assert_snapshot;
use serde_json::Value;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::{Engine, TestDatabase};
use rstest::rstest;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/metrics.ndjson");

fn counts(db: &TestDatabase) -> String {
    let counts = db.rows(
        "SELECT (SELECT count(*) FROM \"InfrastructureMetric\"), (SELECT count(*) FROM usagectl_metric_days),
                (SELECT count(*) FROM usagectl_dirty_metric_days)",
    );
    counts.join("\n")
}

#[rstest]
fn file_is_imported_once_and_summarized(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    assert_snapshot!(db.usagectl(["collect", "import", EXAMPLE]).run().snapshot(), @"
        read                 540
        inserted             540
        updated                0
        unchanged              0
        refused                0
        days rebuilt         540
        [exit status: 0]
        ");
    let again = db
        .usagectl(["collect", "import", EXAMPLE, "--format", "json"])
        .run()
        .success();
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(
        (&again["inserted"], &again["unchanged"], &again["days"]),
        (&0.into(), &540.into(), &0.into())
    );
    assert_eq!(counts(&db), "540|540|0");
    let february = db.rows(
        "SELECT count(*), sum(resets) FROM usagectl_metric_days
             WHERE metric = 'BANDWIDTH_GB' AND used IS NOT NULL AND used >= 0",
    );
    // One restart at the new month; the usage of the first day is unknown.
    assert_eq!(february, ["59|1"]);
}

#[rstest]
fn rejected_line_is_reported_and_skipped(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let lines = "{\"service\":\"VERCEL_KV\",\"metric\":\"STORAGE_MB\",\"value\":1,\"timestamp\":\"2026-01-31T11:00:00Z\"}\n\
             {\"service\":\"VERCEL_KV\",\"metric\":\"STORAGE_MB\",\"value\":\"many\",\"timestamp\":\"2026-01-31T11:00:00Z\"}\n\
             nonsense\n\
             {\"service\":\"VERCEL_KV\",\"metric\":\"STORAGE_MB\",\"value\":2,\"timestamp\":\"2026-01-31T12:00:00Z\"}\n";
    let import = ["collect", "import", "-", "--rejects", "refused.ndjson"];
    assert_snapshot!(db.usagectl(import).stdin(lines).run().snapshot(), @"
        read                   4
        inserted               2
        updated                0
        unchanged              0
        refused                2
        days rebuilt           1
        ------- stderr -------
        warning: stdin:2: value is not a number
        warning: stdin:3: the line is not valid JSON at byte 2: expected ident
        next: correct the lines listed in refused.ndjson, then run the same command again: imported lines are skipped
        [exit status: 3]
        ");
    let kept = std::fs::read_to_string(db.sandbox().work().join("refused.ndjson")).unwrap();
    assert_eq!(kept.lines().count(), 2);
    assert_eq!(counts(&db), "2|1|0");
}

#[rstest]
fn psql_csv_is_imported_as_the_same_rows(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let csv = "id,service,metric,value,timestamp,metadata\n\
                   row-1,VERCEL_POSTGRES,CONNECTIONS,11,2026-01-31 11:00:00,\"{\"\"plan\"\": \"\"hobby\"\"}\"\n";
    let import = ["collect", "import", "--assume-tz", "UTC"];
    db.usagectl(import).stdin(csv).run().success();
    db.usagectl(import).stdin(csv).run().success();
    let rows = db.rows("SELECT id, value, timestamp FROM \"InfrastructureMetric\"");
    assert_eq!(rows, ["row-1|11|2026-01-31T11:00:00.000+00:00"]);
    assert_eq!(db.usagectl(["collect", "import"]).stdin(csv).run().code, 3);
    let broken = db
        .usagectl(["collect", "import"])
        .stdin("day,value\n1,2\n")
        .run();
    assert_eq!(broken.code, 1);
    assert!(
        broken.stderr.contains("unknown column `day`"),
        "{}",
        broken.stderr
    );
    assert_eq!(
        db.usagectl(["collect", "import", "nowhere.csv"]).run().code,
        1
    );
}

#[rstest]
fn bill_is_summed_and_revised(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let charge = |service: &str, billed: &str, quantity: &str, unit: &str| {
        format!(
            "{{\"ServiceName\":\"{service}\",\"ProviderName\":\"Vercel\",\"ChargePeriodStart\":\"2026-01-29T00:00:00.000Z\",\"BilledCost\":{billed},\
                 \"BillingCurrency\":\"USD\",\"ConsumedQuantity\":{quantity},\"ConsumedUnit\":\"{unit}\",\"Tags\":{{}}}}\n"
        )
    };
    let bill = [
        charge("Fast Data Transfer", "0.1", "1.5", "GB"),
        charge("Fast Data Transfer", "0.2", "2.5", "GB"),
        charge("Warp Drive", "7", "1", "Parsecs"),
    ];
    let import = ["collect", "import", "--kind", "focus"];
    let first = db.usagectl(import).stdin(&bill.concat()).run().success();
    assert!(
        first
            .stderr
            .contains("unknown service or unit `Warp Drive (Parsecs)` on the bill"),
        "{}",
        first.stderr
    );
    // Another bill from stdin adds up, and the same again changes nothing.
    let other = charge("Amazon EC2", "100", "null", "h");
    for _ in 0..2 {
        db.usagectl(import).stdin(&other).run().success();
    }
    let total = "SELECT CAST(round(CAST(sum(value) * 10 AS NUMERIC)) AS INTEGER)
         FROM \"InfrastructureMetric\" WHERE metric = 'COST_USD'";
    assert_eq!(db.rows(total), ["1073"]);
    db.execute("DELETE FROM \"InfrastructureMetric\"");
    // A file of the same name removes the lines that it no longer has.
    for bill in [&bill[..], &bill[..2]] {
        let file = db.sandbox().file("bill.ndjson", bill.concat());
        db.usagectl(import).arg(file).run().success();
    }
    let rows =
        db.rows("SELECT service, metric, value FROM \"InfrastructureMetric\" ORDER BY value DESC");
    assert_eq!(
        rows,
        [
            "VERCEL_BANDWIDTH|BANDWIDTH_GB|4",
            "VERCEL_PLATFORM|COST_USD|0.3"
        ]
    );
    let cut = db.usagectl(import).stdin("[{\"ServiceName\":").run();
    assert_eq!(cut.code, 1, "{}", cut.snapshot());
    // A bill with a rejected line is not stored, unless asked for.
    let euro = bill[0].replace("USD", "EUR");
    let half = [bill[0].replace("0.1", "5"), euro].concat();
    let half = db.sandbox().file("bill.ndjson", half);
    let run = db.usagectl(import).arg(&half).run();
    assert_eq!(run.code, 3, "{}", run.snapshot());
    let cost = "SELECT value FROM \"InfrastructureMetric\" WHERE metric = 'COST_USD'";
    assert_eq!(db.rows(cost), ["0.3"]);
    let partial = db.usagectl(import).arg("--partial").arg(&half).run();
    assert_eq!(partial.code, 3);
    assert_eq!(db.rows(cost), ["5"]);
}

#[rstest]
fn bills_of_providers_and_files_add_up(#[values(Sqlite, Postgresql)] engine: Engine) {
    const BILL: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/focus/focus-1.0-sample.csv"
    );
    let db = TestDatabase::migrated(engine);
    let import = |more: &[&str]| {
        let args = [&["collect", "import", "--kind", "focus"], more].concat();
        db.usagectl(args).run().success()
    };
    let total = || {
        let sums = "SELECT CAST(round(CAST(sum(value) * 100 AS NUMERIC)) AS INTEGER)
             FROM \"InfrastructureMetric\" WHERE metric = 'COST_USD'";
        db.rows(sums).remove(0)
    };
    let first = import(&[BILL]);
    assert!(
        first.stdout.contains("billed            $14.67\n"),
        "{}",
        first.stdout
    );
    assert!(
        first.stdout.contains("effective         $13.16\n"),
        "{}",
        first.stdout
    );
    assert_eq!(total(), "1467");
    let second = import(&[BILL]);
    assert!(
        second.stdout.contains("inserted               0\n"),
        "{}",
        second.stdout
    );
    assert_eq!(total(), "1467");
    let resources = "SELECT DISTINCT resource FROM usagectl_metric_days ORDER BY 1";
    assert_eq!(db.rows(resources), ["AWS", "Microsoft", "Oracle"]);
    // Another file of the same bill, and a bill of another provider on the same day.
    let line = |service: &str, provider: &str, cost: &str| {
        format!(
            "{{\"ServiceName\":\"{service}\",\"ProviderName\":\"{provider}\",\"BilledCost\":{cost},\
             \"BillingCurrency\":\"USD\",\"ChargePeriodStart\":\"2024-09-18T00:00:00Z\"}}\n"
        )
    };
    let part = line("Amazon EC2", "AWS", "100") + &line("Fast Data Transfer", "Vercel", "1.5");
    let args = ["collect", "import", "--kind", "focus", "-"];
    db.usagectl(args).stdin(&part).run().success();
    assert_eq!(total(), "11617");
    let of_day = "SELECT resource, CAST(round(CAST(sum(used) AS NUMERIC)) AS INTEGER) FROM usagectl_metric_days
         WHERE resource IN ('', 'AWS') GROUP BY resource ORDER BY 1";
    assert_eq!(db.rows(of_day), ["|2", "AWS|114"]);
    // The same bill under another name, or longer, would be counted twice.
    let copy = db
        .sandbox()
        .file("bill (1).csv", std::fs::read(BILL).unwrap());
    for run in [
        db.usagectl(args[..4].iter().copied().chain([copy.to_str().unwrap()])),
        db.usagectl(args).stdin_bytes(std::fs::read(BILL).unwrap()),
    ] {
        let refused = run.run();
        let reason = "is stored already, from focus-1.0-sample.csv; nothing was imported";
        assert_eq!(
            (refused.code, refused.stderr.contains(reason)),
            (5, true),
            "{refused:?}"
        );
    }
    assert_eq!(total(), "11617");
    let without = ["--cost", "effective", "--resource", "other", "-"];
    let without = db.usagectl(args[..4].iter().copied().chain(without));
    let without = without.stdin(&part).run();
    let reason = "2 charges without an EffectiveCost; nothing was imported";
    assert_eq!(
        (without.code, without.stderr.contains(reason)),
        (5, true),
        "{without:?}"
    );
    let own = import(&["--resource", "billing", "--cost", "effective", BILL]);
    assert!(
        own.stdout.contains("billed            $14.67\n"),
        "{}",
        own.stdout
    );
    assert_eq!(db.rows(resources), ["", "AWS", "billing"]);
}

#[rstest]
fn bill_with_other_amounts_of_a_stored_one_is_refused(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let bill = |items: std::ops::Range<u32>, cost: &str| {
        let line = |item: u32| format!("AWS,EC2,i-{item},{cost},USD,2025-11-05T00:00:00Z\n");
        let head =
            "ProviderName,ServiceName,ResourceId,BilledCost,BillingCurrency,ChargePeriodStart\n"
                .to_owned();
        head + &items.map(line).collect::<String>()
    };
    let import = |name: &str, content: String| {
        let file = db.sandbox().file(name, content);
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args).arg(file).run()
    };
    import("november.csv", bill(0..10, "2")).success();
    let revised = import("november-2.csv", bill(0..10, "3"));
    let reason = "the bill, or a part of it, is stored already with other amounts, from november.csv; nothing was imported";
    assert!(
        revised.code == 5 && revised.stderr.contains(reason),
        "{revised:?}"
    );
    // A few lines of an item in two files are a bill in parts.
    import("part-2.csv", bill(5..20, "4")).success();
    assert_eq!(costs(&db), ["11-05 AWS|80"]);
    import("november.csv", bill(0..10, "3")).success();
    assert_eq!(costs(&db), ["11-05 AWS|90"]);
    // Lines that name no resource are no evidence that it is another bill.
    let unnamed = |cost: &str| format!("AWS,EC2,,{cost},USD,2025-11-05T00:00:00Z\n").repeat(15);
    let with = |name, items, cost: &str| import(name, bill(items, cost) + &unnamed(cost));
    with("mixed.csv", 20..30, "1").success();
    let revised = with("mixed-2.csv", 20..30, "2");
    let reason = "with other amounts, from mixed.csv";
    assert!(
        revised.code == 5 && revised.stderr.contains(reason),
        "{revised:?}"
    );
    // A part of the same name from another directory.
    let part = import("part-2.csv", bill(30..40, "7"));
    let reason = "no resource or SKU is in both; nothing was imported";
    assert!(part.code == 5 && part.stderr.contains(reason), "{part:?}");
    assert_eq!(costs(&db), ["11-05 AWS|115"]);
}

/// Files of one bill add up, and none of them has a line of another.
#[rstest]
fn line_in_two_files_of_one_command_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let head = "ProviderName,ServiceName,ResourceId,BilledCost,BillingCurrency,ChargePeriodStart\n";
    let line =
        |item: u32, cost: &str| format!("AWS,EC2,i-{item},{cost},USD,2025-11-05T00:00:00Z\n");
    let file =
        |name: &str, lines: &[String]| db.sandbox().file(name, head.to_owned() + &lines.concat());
    let one = file("part-1.csv", &[line(1, "2"), line(1, "2"), line(9, "0")]);
    let import = |other| {
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args).arg(&one).arg(other).run()
    };
    let refused = import(file("part-2.csv", &[line(2, "2"), line(1, "2")]));
    let reason = "part-1.csv and ";
    assert!(
        refused.code == 5
            && refused
                .stderr
                .contains("the same charge, $2.00 for EC2 on 2025-11-05, is in")
            && refused.stderr.contains(reason),
        "{refused:?}"
    );
    assert_eq!(costs(&db), [""; 0]);
    // Twice in one file, without an amount, and of another amount.
    import(file(
        "part-3.csv",
        &[line(2, "2"), line(1, "3"), line(9, "0")],
    ))
    .success();
    assert_eq!(costs(&db), ["11-05 AWS|9"]);
}

#[rstest]
fn charge_of_no_time_or_currency_is_rejected(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let args = ["collect", "import", "--kind", "focus"];
    let csv = |from: &str, to: &str, currency: &str| {
        format!(
            "BilledCost,ChargePeriodStart,ChargePeriodEnd,BillingCurrency\n1,{from},{to},{currency}\n"
        )
    };
    let (day, next) = ("2026-01-30T00:00:00Z", "2026-01-31T00:00:00Z");
    let json = csv(day, next, "null");
    let json = json.lines().last().unwrap().split(',').collect::<Vec<_>>();
    let json = format!(
        r#"{{"BilledCost":1,"ChargePeriodStart":"{}","BillingCurrency":{}}}"#,
        json[1], json[3]
    );
    for (bill, reason) in [
        (
            csv(day, day, "USD"),
            "ChargePeriodEnd is not after ChargePeriodStart",
        ),
        (
            csv(next, day, "USD"),
            "ChargePeriodEnd is not after ChargePeriodStart",
        ),
        (
            csv("2026-02-02T00:00:00Z", "2026-02-03T00:00:00Z", "USD"),
            "ChargePeriodStart",
        ),
        (csv(day, next, ""), "BillingCurrency is empty, expected USD"),
        (
            csv(day, next, " "),
            "BillingCurrency is empty, expected USD",
        ),
        (
            csv(day, next, "NULL"),
            "BillingCurrency is empty, expected USD",
        ),
        (json, "BillingCurrency is empty, expected USD"),
        (
            format!("BilledCost,ChargePeriodStart\n1,{day}\n"),
            "BillingCurrency is missing, expected USD",
        ),
        (
            format!(r#"{{"BilledCost":1,"ChargePeriodStart":"{day}"}}"#),
            "BillingCurrency is missing, expected USD",
        ),
        (
            csv(day, next, "EUR"),
            "BillingCurrency is `EUR`, expected USD",
        ),
    ] {
        let run = db.usagectl(args).stdin(&bill).run();
        assert!(
            run.code == 3 && run.stderr.contains(reason),
            "{bill}{run:?}"
        );
    }
    // A purchase may last for years.
    let purchase = csv(day, "2028-01-30T00:00:00Z", "usd");
    db.usagectl(args).stdin(&purchase).run().success();
}

/// A bill in CSV; a line is provider, account, service, cost, and the day and hour of November.
fn bill(lines: &[&str]) -> String {
    let mut csv =
        "ProviderName,BillingAccountId,ServiceName,BilledCost,BillingCurrency,ChargePeriodStart\n"
            .to_owned();
    for line in lines {
        let (line, time) = line.rsplit_once(' ').unwrap();
        csv.push_str(&format!(
            "{},USD,2025-11-{time}:00:00Z\n",
            line.replace(' ', ",")
        ));
    }
    csv
}

/// The cost of each resource and day.
fn costs(db: &TestDatabase) -> Vec<String> {
    let rows = db.rows(
        "SELECT day, resource, used FROM usagectl_metric_days WHERE metric = 'COST_USD' ORDER BY resource, day",
    );
    let line = |row: &String| {
        let (day, rest) = row.split_once('|').unwrap();
        format!("{} {rest}", &day[5..10])
    };
    rows.iter().map(line).collect()
}

#[rstest]
fn bill_of_a_name_replaces_only_that_of_its_provider_and_account(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let run = |lines: &[&str], more: &[&str]| {
        let file = db.sandbox().file("part-0.csv", bill(lines));
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args.iter().chain(more)).arg(file).run()
    };
    let import = |lines: &[&str]| run(lines, &[]).success().stderr;
    import(&["aws 1 X 10 01T00", "aws 1 Y 5 02T00", "aws 1 X 7 03T00"]);
    import(&["gcp 1 X 10 01T00"]);
    import(&["aws 2 X 20 01T00"]);
    let all = ["11-01 aws|30", "11-02 aws|5", "11-03 aws|7", "11-01 gcp|10"];
    assert_eq!(costs(&db), all);
    // Without a common charge, a file that lacks a service may be another part of the bill.
    let corrected = ["aws 1 X 11 01T00", "aws 1 X 1 02T00"];
    let unclear = run(&corrected, &[]);
    assert_eq!(unclear.code, 5, "{unclear:?}");
    for part in [
        "another bill of the name part-0.csv is stored for the same account and billing period, no charge is in both",
        "--replace ",
        "--name NAME ",
    ] {
        assert!(unclear.stderr.contains(part), "{unclear:?}");
    }
    assert_eq!(costs(&db), all);
    let warning = run(&corrected, &["--replace"]).success().stderr;
    assert_eq!(costs(&db), ["11-01 aws|31", "11-02 aws|1", "11-01 gcp|10"]);
    assert!(
        warning.contains("charges on 1 day between 2025-11-03 and 2025-11-03 that this one lacks"),
        "{warning}"
    );
    // One with all of its services, regions and charge periods corrects it.
    let warning = import(&["gcp 1 X 12 01T00"]);
    assert!(warning.contains("other charges in 1 sum"), "{warning}");
    import(&["gcp 1 X 10 01T00"]);
    // The bill of another month.
    let december = bill(&["aws 1 X 8 01T00"]).replace("2025-11", "2025-12");
    let file = db.sandbox().file("part-0.csv", december);
    let args = ["collect", "import", "--kind", "focus"];
    db.usagectl(args).arg(file).run().success();
    assert_eq!(
        costs(&db),
        ["11-01 aws|31", "11-02 aws|1", "12-01 aws|8", "11-01 gcp|10"]
    );
}

#[rstest]
fn file_of_a_stored_name_without_common_charges_is_refused(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let import = |lines: &[&str], more: &[&str]| {
        let file = db.sandbox().file("bill.csv", bill(lines));
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args.iter().chain(more)).arg(file).run().code
    };
    assert_eq!(import(&["aws 1 A 10 01T00"], &[]), 0);
    let other = ["aws 1 B 20 01T00"];
    // Another resource does not hide it.
    for more in [&[][..], &["--resource", "billing"]] {
        assert_eq!(import(&other, more), 5);
        assert_eq!(costs(&db), ["11-01 aws|10"]);
    }
    for _ in 0..2 {
        assert_eq!(import(&other, &["--name", "bill-2.csv"]), 0);
        assert_eq!(costs(&db), ["11-01 aws|30"]);
    }
    // A longer export of the same bill replaces it.
    assert_eq!(import(&["aws 1 A 10 01T00", "aws 1 A 1 02T00"], &[]), 0);
    assert_eq!(costs(&db), ["11-01 aws|30", "11-02 aws|1"]);
    assert_eq!(import(&["aws 1 C 7 01T00"], &["--replace"]), 0);
    assert_eq!(costs(&db), ["11-01 aws|27"]);
    let args = ["collect", "import", "--name", "x"];
    assert_eq!(db.usagectl(args).stdin("").run().code, 2);
}

#[rstest]
fn parts_of_a_bill_add_up_and_a_copy_is_refused(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let import = |name: &str, lines: &[&str]| {
        let file = db.sandbox().file(name, bill(lines));
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args).arg(file).run().code
    };
    // The sums of X are equal.
    assert_eq!(import("1.csv", &["aws 1 X 1 01T00", "aws 1 Y 2 01T00"]), 0);
    assert_eq!(import("2.csv", &["aws 1 X 1 01T12", "aws 1 Z 3 01T12"]), 0);
    assert_eq!(costs(&db), ["11-01 aws|7"]);
    assert_eq!(
        import("copy.csv", &["aws 1 X 1 01T00", "aws 1 Y 2 01T00"]),
        5
    );
    let part = [
        "aws 1 X 1 01T00",
        "aws 1 U 1 01T00",
        "aws 1 V 1 01T00",
        "aws 1 W 1 01T00",
    ];
    assert_eq!(import("part.csv", &part), 5);
    // One line of a sum is stored.
    assert_eq!(
        import("part.csv", &["aws 1 X 1 01T00", "aws 1 X 5 01T00"]),
        5
    );
    assert_eq!(costs(&db), ["11-01 aws|7"]);
    // So do bills from stdin, which have no name.
    for line in ["aws 1 S 1 02T00", "aws 1 S 1 02T12", "aws 1 S 1 02T12"] {
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args).stdin(&bill(&[line])).run().success();
    }
    assert_eq!(costs(&db), ["11-01 aws|7", "11-02 aws|2"]);
}

#[rstest]
fn bill_in_other_files_replaces_all_of_the_stored_ones(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    let import = |files: &[(&str, &[&str])], more: &[&str]| {
        let files = files.iter();
        let files: Vec<_> = files
            .map(|(name, lines)| db.sandbox().file(name, bill(lines)))
            .collect();
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args.iter().chain(more)).args(files).run()
    };
    let (a, b, c) = ("aws 1 A 1 01T00", "aws 1 B 2 01T00", "aws 1 C 4 02T00");
    import(&[("0.csv", &[a, b])], &[]).success();
    import(&[("1.csv", &[c])], &[]).success();
    import(&[("0.csv", &["gcp 1 A 8 01T00"])], &[]).success();
    let all = ["11-01 aws|3", "11-02 aws|4", "11-01 gcp|8"];
    assert_eq!(costs(&db), all);
    // The charges move between the files.
    let moved = [("2.csv", &[a][..]), ("1.csv", &[b, c])];
    let refused = import(&moved, &[]);
    assert_eq!(refused.code, 5, "{refused:?}");
    let next = "next: if the bill was exported again, give all its files and --replace;";
    assert!(refused.stderr.contains(next), "{refused:?}");
    assert_eq!(costs(&db), all);
    let replaced = import(&moved, &["--replace"]).success();
    let names = "the stored files of this bill were replaced: 0.csv, 1.csv";
    assert!(replaced.stderr.contains(names), "{replaced:?}");
    assert_eq!(costs(&db), all);
    assert_eq!(import(&moved, &[]).code, 0);
    assert_eq!(costs(&db), all);
    assert_eq!(import(&[("9.csv", &[a]), ("9.csv", &[a])], &[]).code, 2);
    // One of them has charges of the stored bill, which has more.
    let part = import(&[("1.csv", &[b, c])], &[]);
    assert_eq!(part.code, 5);
    assert!(part.stderr.contains(next), "{part:?}");
    assert_eq!(costs(&db), all);
}

#[rstest]
fn provider_is_the_same_in_any_case(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let import = |name: &str, lines: &[&str], more: &[&str]| {
        let file = db.sandbox().file(name, bill(lines));
        let args = ["collect", "import", "--kind", "focus"];
        db.usagectl(args.iter().chain(more)).arg(file).run().code
    };
    import("1.csv", &["AWS 1 A 10 01T00", "aws 1 B 5 02T00"], &[]);
    import("2.csv", &["Aws 1 C 7 01T00"], &[]);
    assert_eq!(costs(&db), ["11-01 AWS|17", "11-02 AWS|5"]);
    // It also replaces the bill of its name.
    import("2.csv", &["aws 1 C 8 01T00"], &[]);
    assert_eq!(costs(&db), ["11-01 AWS|18", "11-02 AWS|5"]);
    // With a resource of its own, the stored name is not known.
    let team = ["--resource", "team"];
    assert_eq!(import("3.csv", &["GCP 1 D 3 01T00"], &team), 0);
    let again = &["gcp 1 D 3 01T00"];
    assert_eq!(import("3.csv", again, &team), 5);
    assert_eq!(
        import("3.csv", again, &[&team[..], &["--replace"]].concat()),
        0
    );
    assert_eq!(costs(&db)[2..], ["11-01 team|3"]);
}

#[rstest]
fn unknown_provider_is_a_resource_of_its_own(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let args = ["collect", "import", "--kind", "focus"];
    let lines = bill(&[" 1 Fast-Data-Transfer 100 01T00", " 1 EC2 1 03T00"]);
    db.usagectl(args).stdin(&lines).run().success();
    // Days without a charge are zero.
    assert_eq!(
        costs(&db),
        ["11-01 unknown|100", "11-02 unknown|0", "11-03 unknown|1"]
    );
    let date = lines.replace("T00:00:00Z", "");
    let refused = db.usagectl(args).stdin(&date).run();
    assert!(
        refused.stderr.contains("expected an RFC 3339 time")
            && !refused.stderr.contains("--time-format"),
        "{}",
        refused.stderr
    );
}

#[rstest]
fn set_stores_one_value(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::migrated(engine);
    let set = |more: &[&str]| {
        let words = [
            "collect",
            "set",
            "--service",
            "vercel_kv",
            "--metric",
            "storage_mb",
        ];
        db.usagectl(words.iter().chain(more)).run()
    };
    set(&["201.5"]).success();
    set(&["202.5"]).success();
    set(&["100", "--at", "2026-01-30T12:00:00Z", "--resource", "cache"]).success();
    let rows = db.rows("SELECT resource, last_value, reading FROM usagectl_metric_days ORDER BY 1");
    assert_eq!(rows, ["|202.5|LEVEL", "cache|100|LEVEL"]);
    for wrong in [
        &["-1"][..],
        &["NaN"],
        &["1", "--at", "2026-02-01T12:00:00Z"],
        &["1", "--reading", "loud"],
    ] {
        assert_eq!(set(wrong).code, 2, "{wrong:?}");
    }
}
