//! The files beside a SQLite database, when several users or several names are involved.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use diesel::connection::SimpleConnection;
use usagectl::store::db::Db;

use crate::support::program::Program;
use crate::support::{Engine, Sandbox, TestDatabase};

const OTHER_USER: u32 = 65534;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A migrated database in a directory that every user may write.
fn shared_directory() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let path = sandbox.work().join("usage.db");
    fs::copy(TestDatabase::migrated(Engine::Sqlite).path(), &path).unwrap();
    set_mode(sandbox.path(), 0o755);
    set_mode(sandbox.work(), 0o777);
    (sandbox, format!("sqlite:{}", path.display()))
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The program run by a user who does not own the files; by this one if it is not root.
fn by_other_user(sandbox: &Sandbox, url: &str, args: &[&str]) -> Program {
    if !is_root() {
        return sandbox.usagectl(args).database(url);
    }
    let id = format!("{OTHER_USER}");
    let mut program = sandbox.command("setpriv").database(url);
    for arg in ["--reuid", &id, "--regid", &id, "--clear-groups"] {
        program = program.arg(arg);
    }
    let mut program = program.arg(env!("CARGO_BIN_EXE_usagectl"));
    for arg in args {
        program = program.arg(arg);
    }
    program
}

fn files(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.work()).unwrap();
    let mut names: Vec<String> = entries
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn reading_by_a_user_who_may_not_write_leaves_no_files() {
    let (sandbox, url) = shared_directory();
    set_mode(sandbox.work().join("usage.db"), 0o444);
    for command in ["status", "stats", "limits", "alerts"] {
        by_other_user(&sandbox, &url, &[command]).run().success();
        assert_eq!(files(&sandbox), ["usage.db"], "after {command}");
    }
}

#[test]
fn reading_by_the_owner_leaves_no_files() {
    let (sandbox, url) = shared_directory();
    for command in ["status", "stats"] {
        sandbox.usagectl([command]).database(&url).run().success();
        assert_eq!(files(&sandbox), ["usage.db"], "after {command}");
    }
}

#[test]
fn reader_who_may_not_write_sees_the_rows_of_a_live_writer() {
    let (sandbox, url) = shared_directory();
    let parsed = usagectl::store::url::parse(&url, usagectl::store::url::UrlSource::Flag).unwrap();
    let writer = usagectl::store::db::open(&parsed, usagectl::store::db::Access::Write);
    let Ok(Db::Sqlite(mut writer)) = writer else {
        panic!("the database is SQLite");
    };
    writer
        .batch_execute(
            "INSERT INTO api_usage (id, api_name, timestamp)
             VALUES ('a', 'finnhub', '2026-01-31T11:59:00.000+00:00')",
        )
        .unwrap();
    let before = files(&sandbox);
    assert_eq!(before, ["usage.db", "usage.db-shm", "usage.db-wal"]);
    for file in &before {
        set_mode(sandbox.work().join(file), 0o444);
    }
    let run = by_other_user(&sandbox, &url, &["stats", "--last", "1h"]).run();
    assert!(run.success().stdout.contains("finnhub"));
    assert_eq!(files(&sandbox), before);
}

#[test]
fn lock_file_has_the_owner_and_mode_of_the_database() {
    let (sandbox, url) = shared_directory();
    let database = sandbox.work().join("usage.db");
    set_mode(&database, 0o660);
    if is_root() {
        chown(&database, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    }
    sandbox
        .usagectl(["aggregate"])
        .database(&url)
        .run()
        .success();
    let lock = fs::metadata(sandbox.work().join("usage.db-aggregate-lock")).unwrap();
    let expected = fs::metadata(&database).unwrap();
    assert_eq!(lock.mode() & 0o777, 0o660);
    assert_eq!((lock.uid(), lock.gid()), (expected.uid(), expected.gid()));
    by_other_user(&sandbox, &url, &["aggregate"])
        .run()
        .success();
    // One that exists follows the database, too.
    set_mode(&database, 0o600);
    sandbox
        .usagectl(["aggregate"])
        .database(&url)
        .run()
        .success();
    let lock = fs::metadata(sandbox.work().join("usage.db-aggregate-lock")).unwrap();
    assert_eq!(lock.mode() & 0o777, 0o600);
}

#[test]
fn lock_file_that_may_only_be_read_is_sufficient() {
    let (sandbox, url) = shared_directory();
    if is_root() {
        chown(
            sandbox.work().join("usage.db"),
            Some(OTHER_USER),
            Some(OTHER_USER),
        )
        .unwrap();
    }
    let lock = sandbox.file("usage.db-aggregate-lock", "");
    set_mode(&lock, 0o444);
    by_other_user(&sandbox, &url, &["aggregate"])
        .run()
        .success();
    set_mode(&lock, 0o000);
    let run = by_other_user(&sandbox, &url, &["aggregate"]).run();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    let path = lock.display();
    assert!(
        run.stderr.ends_with(&format!(
            "next: let this user read and write the directory and {path}\n"
        )),
        "{}",
        run.stderr
    );
}

#[test]
fn lock_file_is_not_written_through_a_symbolic_link() {
    let (sandbox, url) = shared_directory();
    let other = sandbox.file("other", "content");
    symlink(&other, sandbox.work().join("usage.db-aggregate-lock")).unwrap();
    let run = sandbox.usagectl(["aggregate"]).database(&url).run();
    assert_eq!(run.code, 1, "{}", run.snapshot());
    assert_eq!(fs::read_to_string(other).unwrap(), "content");
}

#[test]
fn second_hard_link_is_warned_of() {
    let sandbox = Sandbox::new();
    let record = || {
        let args = ["record", "--api", "finnhub", "--status", "200"];
        let run = sandbox.usagectl(args).database("sqlite:usage.db").run();
        run.success().stderr
    };
    let migrate = sandbox.usagectl(["migrate"]).database("sqlite:usage.db");
    migrate.run().success();
    assert!(!record().contains("hard links"));
    let (file, link) = (sandbox.work().join("usage.db"), sandbox.work().join("b.db"));
    fs::hard_link(file, link).unwrap();
    let warning = record();
    assert!(
        warning.contains("has several names (hard links)"),
        "{warning}"
    );
}

#[test]
fn runs_by_two_names_of_one_file_exclude_each_other() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.work().join("data")).unwrap();
    symlink("data/usage.db", sandbox.work().join("link.db")).unwrap();
    for _ in 0..3 {
        let names = ["sqlite:link.db", "sqlite:data/usage.db"];
        let start = |i: usize| {
            let program = sandbox.usagectl(["migrate", "--database-url", names[i % 2]]);
            program.spawn()
        };
        let racers: Vec<_> = (0..8).map(start).collect();
        for racer in racers {
            racer.wait().success();
        }
        let locks = files(&sandbox);
        assert_eq!(locks, ["data", "link.db"], "the lock is beside the file");
        for entry in fs::read_dir(sandbox.work().join("data")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}
