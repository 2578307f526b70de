//! Which database a command uses, and what it says when it cannot.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use crate::support::assert_snapshot;
use usagectl::store::db::Db;

use crate::support::Engine::{Postgresql, Sqlite};
use crate::support::postgres::{self, PASSWORD};
use crate::support::{Engine, Run, Sandbox, TestDatabase};
use rstest::rstest;

/// What `migrate` does with this URL.
fn migrate(sandbox: &Sandbox, url: &str) -> Run {
    sandbox.usagectl(["migrate", "--database-url", url]).run()
}

fn mode(path: impl AsRef<std::path::Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_string_that_names_no_engine_is_refused_and_no_file_appears() {
    let sandbox = Sandbox::new();
    for url in [
        "usage.db",
        "postgress://app:s3cret-of-the-tests@localhost/shop",
        "mysql://app:s3cret-of-the-tests@localhost/shop",
        "sqlite::memory:",
        "",
        "C:\\usage.db",
    ] {
        let run = migrate(&sandbox, url);
        assert_eq!(run.code, 2, "{url}: {}", run.snapshot());
        assert!(run.stderr.contains("next: "), "{}", run.snapshot());
    }
    assert_eq!(fs::read_dir(sandbox.work()).unwrap().count(), 0);

    assert_snapshot!(migrate(&sandbox, "postgress://app@localhost/shop").snapshot(), @r"
    ------- stderr -------
    error: --database-url has the unknown scheme `postgress`
    next: usagectl --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
    assert_snapshot!(migrate(&sandbox, "usage.db").snapshot(), @r"
    ------- stderr -------
    error: --database-url names no database engine: it has no scheme
    next: usagectl --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
}

#[test]
fn a_url_that_is_wrong_never_gives_way_to_another_one() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let run = db.usagectl(["stats", "--database-url", "usage.db"]).run();
    assert_eq!(run.code, 2, "{}", run.snapshot());

    let sandbox = Sandbox::new();
    sandbox.file(".env", format!("DATABASE_URL={}\n", db.url()));
    let run = sandbox.usagectl(["stats"]).env("DATABASE_URL", "").run();
    assert_snapshot!(run.snapshot(), @r"
    ------- stderr -------
    error: DATABASE_URL is set but empty
    next: usagectl --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
}

#[test]
fn postgresql_that_cannot_be_reached() {
    let sandbox = Sandbox::new();
    // Port 1 is nobody's.
    let url = format!("postgresql://app:{PASSWORD}@127.0.0.1:1/shop");
    assert_snapshot!(migrate(&sandbox, &url).snapshot(), @r#"
    ------- stderr -------
    error: cannot connect to postgresql://app:***@127.0.0.1:1/shop: connection to server at "127.0.0.1", port 1 failed: Connection refused; Is the server running on that host and accepting TCP/IP connections?
    next: check host and port, and that the server accepts connections
    [exit status: 7]
    "#);

    // How a name that does not exist is refused depends on the network.
    let run = migrate(&sandbox, "postgres://app@no-such-host.invalid/shop");
    assert_eq!(run.code, 7);
    assert!(
        run.stderr.contains("no-such-host.invalid"),
        "{}",
        run.stderr
    );

    let run = migrate(&sandbox, "postgres://app@127.0.0.1:1/shop?sslmod=require");
    assert_snapshot!(run.snapshot(), @r#"
    ------- stderr -------
    error: cannot connect to postgresql://app@127.0.0.1:1/shop: invalid URI query parameter: "sslmod"
    next: correct or remove that parameter of the URL
    [exit status: 7]
    "#);
}

#[test]
fn postgresql_that_does_not_let_us_in() {
    let db = TestDatabase::empty(Engine::Postgresql);
    let name = db
        .url()
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap();
    let url = postgres::server().url_with_wrong_password(name);
    let run = migrate(db.sandbox(), &url);
    assert_eq!(run.code, 7, "{}", run.snapshot());
    assert!(
        run.stderr.contains("password authentication failed"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains("next: check user and password in the URL, or set PGPASSWORD")
    );

    let run = migrate(db.sandbox(), &postgres::server().url("no_such_database"));
    assert_eq!(run.code, 7, "{}", run.snapshot());
    assert!(
        run.stderr.contains("\"no_such_database\" does not exist"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .contains("next: create the database and its role, or correct the URL")
    );
}

#[test]
fn what_libpq_cannot_read_is_not_repeated_with_its_password() {
    // Program::run asserts that the password does not come out.
    let sandbox = Sandbox::new();
    for (url, code) in [
        (format!("postgres://app:{PASSWORD}@[/shop"), 7),
        (format!("postgres://app:{PASSWORD}%zz@localhost/shop"), 2),
        (format!("postgres://app:{PASSWORD}/x@localhost/shop"), 2),
        (format!("postgres://app:{PASSWORD}"), 2),
        (format!("postgres:app:{PASSWORD}@localhost/shop"), 2),
        (
            format!("postgres://127.0.0.1:1/shop?user=app&password={PASSWORD}"),
            7,
        ),
    ] {
        let run = migrate(&sandbox, &url);
        assert_eq!(run.code, code, "{}", run.snapshot());
    }
}

#[test]
fn a_sqlite_file_that_is_missing_is_made_by_migrate_only() {
    let sandbox = Sandbox::new();
    for command in ["stats", "status", "aggregate", "rollback"] {
        let run = sandbox
            .usagectl([command])
            .env("DATABASE_URL", "sqlite:usage.db")
            .run();
        let shown = run.snapshot();
        assert!(
            shown.contains("error: there is no database at usage.db\n"),
            "{command}: {shown}"
        );
        assert!(
            shown.ends_with("next: usagectl migrate\n[exit status: 7]\n"),
            "{command}: {shown}"
        );
    }
    let run = sandbox
        .usagectl(["record", "--database-url", "sqlite:usage.db"])
        .stdin("{\"api_name\":\"finnhub\"}\n")
        .run();
    assert_snapshot!(run.snapshot(), @r"
    ------- stderr -------
    error: there is no database at usage.db
    next: usagectl --database-url sqlite:usage.db migrate
    [exit status: 7]
    ");
    assert_eq!(fs::read_dir(sandbox.work()).unwrap().count(), 0);
    migrate(&sandbox, "sqlite:usage.db").success();
    sandbox
        .usagectl(["status", "--database-url", "sqlite:usage.db"])
        .run()
        .success();
}

#[test]
fn what_is_not_a_sqlite_file_is_named_and_left_alone() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.work().join("directory")).unwrap();
    sandbox.file(
        "text",
        "This is a text that is long enough to be taken for the header of a file.",
    );
    let pipe = sandbox.work().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    assert_snapshot!(migrate(&sandbox, "sqlite:directory").snapshot(), @r"
    ------- stderr -------
    error: directory is a directory, not a SQLite file
    next: name another file: usagectl --database-url sqlite:PATH
    [exit status: 7]
    ");
    assert_snapshot!(migrate(&sandbox, "sqlite:text").snapshot(), @r"
    ------- stderr -------
    error: text is not a SQLite database
    next: name another file: usagectl --database-url sqlite:PATH
    [exit status: 7]
    ");
    assert_snapshot!(migrate(&sandbox, "sqlite:pipe").snapshot(), @r"
    ------- stderr -------
    error: pipe is not a SQLite database
    next: name another file: usagectl --database-url sqlite:PATH
    [exit status: 7]
    ");
    assert_snapshot!(migrate(&sandbox, "sqlite:no/such/usage.db").snapshot(), @r"
    ------- stderr -------
    error: there is no directory no/such
    next: mkdir -p no/such
    [exit status: 7]
    ");
    let text = fs::read_to_string(sandbox.work().join("text")).unwrap();
    assert!(text.starts_with("This is a text"));
    assert!(fs::metadata(pipe).unwrap().file_type().is_fifo());
}

#[test]
fn a_damaged_sqlite_file_is_told_from_a_missing_one() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let mut bytes = fs::read(db.path()).unwrap();
    // The header stays; what it points to is nonsense.
    bytes[100..].fill(0xaa);
    fs::write(db.path(), bytes).unwrap();
    assert_snapshot!(db.usagectl(["stats"]).run().snapshot(), @r"
    ------- stderr -------
    error: cannot open [dir]/usage.db: database disk image is malformed
    next: restore a backup, or save what can be read: sqlite3 [dir]/usage.db .recover
    [exit status: 7]
    ");
}

#[test]
fn a_sqlite_file_that_may_not_be_read_is_a_matter_of_its_path() {
    let sandbox = Sandbox::new();
    let path = sandbox.work().join("usage.db");
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if root {
        // Nothing is forbidden to root, but a link that leads to itself leads nowhere for anybody.
        symlink("usage.db", &path).unwrap();
    } else {
        migrate(&sandbox, "sqlite:usage.db").success();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    let run = sandbox
        .usagectl(["stats", "--database-url", "sqlite:usage.db"])
        .run();
    assert_eq!(run.code, 7, "{}", run.snapshot());
    assert!(
        run.stderr.starts_with("error: cannot open usage.db"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr
            .ends_with("next: check the path and who may read and write it\n")
    );
}

#[rstest]
fn a_database_that_nobody_has_migrated_sends_every_ordinary_command_to_migrate(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::empty(engine);
    db.execute("CREATE TABLE somebody_elses (n INTEGER)");
    for command in [&["stats"] as &[&str], &["record"], &["aggregate"]] {
        let run = db.usagectl(command).run();
        assert_eq!(run.code, 1, "{command:?}: {}", run.snapshot());
        assert!(
            run.stderr.ends_with("next: usagectl migrate\n"),
            "{command:?}: {}",
            run.stderr
        );
    }
}

#[test]
fn the_default_is_a_file_in_the_data_directory_that_only_its_owner_may_read() {
    let sandbox = Sandbox::new();
    let data = sandbox.home().join(".local/share");
    assert_snapshot!(sandbox.usagectl(["stats"]).run().snapshot(), @r"
    ------- stderr -------
    error: there is no database at [dir]/home/.local/share/usagectl/usagectl.db
    next: usagectl migrate
    [exit status: 7]
    ");
    let run = sandbox.usagectl(["migrate", "-v"]).run().success();
    let database = data.join("usagectl/usagectl.db");
    let used = format!(
        "using sqlite:{} (from the embedded default)\n",
        database.display()
    );
    assert!(run.stderr.starts_with(&used), "{}", run.stderr);
    assert_eq!(mode(&database), 0o600);
    assert_eq!(mode(data.join("usagectl")), 0o700);
    sandbox.usagectl(["status"]).run().success();

    // Without XDG_DATA_HOME, or with a relative one, which its specification says to ignore.
    let run = sandbox
        .usagectl(["status"])
        .without_env("XDG_DATA_HOME")
        .run();
    run.success();
    sandbox
        .usagectl(["status"])
        .env("XDG_DATA_HOME", "data")
        .run()
        .success();

    let homeless = sandbox
        .usagectl(["status"])
        .without_env("XDG_DATA_HOME")
        .without_env("HOME");
    assert_snapshot!(homeless.run().snapshot(), @r"
    ------- stderr -------
    error: no database was named, and there is no home directory to keep the default one in
    next: usagectl --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
}

#[test]
fn the_sqlite_file_is_its_owners_alone_whatever_the_umask() {
    let sandbox = Sandbox::new();
    let run = Command::new("sh")
        .args([
            "-c",
            "umask 0; exec \"$0\" migrate --database-url sqlite:usage.db",
        ])
        .arg(env!("CARGO_BIN_EXE_usagectl"))
        .current_dir(sandbox.work())
        .output()
        .unwrap();
    assert!(run.status.success());
    for entry in fs::read_dir(sandbox.work()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_dot_env_is_found_upward_and_the_environment_and_the_flag_go_before_it() {
    let sandbox = Sandbox::new();
    let below = sandbox.work().join("app/src");
    fs::create_dir_all(&below).unwrap();
    sandbox.file(
        ".env",
        "# of the application\nTITLE=a b c, which no shell would read\n\
         export DATABASE_URL=\"file:./from-dot-env.db?connection_limit=1\"\n",
    );
    let migrate = || sandbox.usagectl(["migrate", "-v"]).current_dir(&below);
    let run = migrate().run().success();
    let lines: Vec<&str> = run.stderr.lines().take(2).collect();
    // The path is relative to the file that names it, not to where one happens to be.
    let work = sandbox.work().display().to_string();
    let used = format!("using sqlite:{work}/./from-dot-env.db (from DATABASE_URL in {work}/.env)");
    assert_eq!(
        lines,
        [
            used.as_str(),
            "dropped `connection_limit`, which has no meaning for SQLite"
        ]
    );
    assert!(sandbox.work().join("from-dot-env.db").exists());

    let run = migrate()
        .env("DATABASE_URL", "sqlite:from-environment.db")
        .run()
        .success();
    assert!(
        run.stderr
            .starts_with("using sqlite:from-environment.db (from DATABASE_URL)\n")
    );
    let run = migrate()
        .env("DATABASE_URL", "sqlite:from-environment.db")
        .arg("--database-url=sqlite:from-flag.db")
        .run()
        .success();
    assert!(
        run.stderr
            .starts_with("using sqlite:from-flag.db (from --database-url)\n")
    );
}

#[test]
fn a_line_of_dot_env_that_does_not_parse_is_not_repeated() {
    let sandbox = Sandbox::new();
    sandbox.file(
        ".env",
        format!("DATABASE_URL=postgres://app:{PASSWORD}@h/d and more\n"),
    );
    let run = sandbox.usagectl(["status"]).run();
    assert_snapshot!(run.snapshot(), @r"
    ------- stderr -------
    error: cannot read [dir]/app/.env: the line of DATABASE_URL does not parse
    next: correct the .env file, or give --database-url
    [exit status: 2]
    ");
}

#[test]
fn direct_url_is_for_the_commands_that_change_the_schema() {
    let sandbox = Sandbox::new();
    let with_both = |args: &[&str]| {
        sandbox
            .usagectl(args)
            .arg("-v")
            .env("DATABASE_URL", "sqlite:pooled.db")
            .env("DIRECT_URL", "sqlite:direct.db")
    };
    let run = with_both(&["migrate"]).run().success();
    assert!(
        run.stderr
            .starts_with("using sqlite:direct.db (from DIRECT_URL)\n"),
        "{}",
        run.stderr
    );
    let run = with_both(&["stats"]).run();
    assert!(
        run.stderr.contains("there is no database at pooled.db"),
        "{}",
        run.stderr
    );
    let run = with_both(&["migrate", "--database-url", "sqlite:flag.db"])
        .run()
        .success();
    assert!(
        run.stderr
            .starts_with("using sqlite:flag.db (from --database-url)\n")
    );
}

#[test]
fn postgresql_understands_a_url_written_for_prisma() {
    let db = TestDatabase::empty(Engine::Postgresql);
    db.execute("CREATE SCHEMA portal");
    let joint = if db.url().contains('?') { '&' } else { '?' };
    let url = format!(
        "{}{joint}schema=portal&connection_limit=5&pool_timeout=0&pgbouncer=true&sslidentity=me.p12",
        db.url()
    );
    let run = db
        .usagectl(["migrate", "-v"])
        .env("DATABASE_URL", &url)
        .run()
        .success();
    let used = run
        .stderr
        .replace(&db.url().replace(PASSWORD, "***"), "[database]");
    let lines: Vec<&str> = used.lines().take(5).collect();
    assert_snapshot!(lines.join("\n"), @r"
    using [database] (from DATABASE_URL)
    dropped Prisma's `connection_limit`: usagectl keeps one connection and no pool
    dropped Prisma's `pool_timeout`: usagectl keeps one connection and no pool
    dropped Prisma's `pgbouncer`: `migrate` and `rollback` want the server itself, set DIRECT_URL
    dropped Prisma's `sslidentity`: libpq reads PEM files, give `sslcert` and `sslkey`
    ");
    assert_eq!(
        db.rows("SELECT schemaname FROM pg_tables WHERE tablename = 'api_usage'"),
        ["portal"]
    );
    let run = db.usagectl(["status"]).env("DATABASE_URL", &url).run();
    run.success();
}

#[test]
fn sqlite_is_switched_to_wal_by_migrate_and_by_nothing_else() {
    let db = TestDatabase::empty(Engine::Sqlite);
    db.usagectl(["migrate"]).run().success();
    assert_eq!(db.rows("PRAGMA journal_mode"), ["wal"]);

    db.execute("PRAGMA journal_mode = DELETE");
    for command in [
        &["stats"] as &[&str],
        &["status"],
        &["record", "--api", "finnhub"],
        &["aggregate"],
    ] {
        db.usagectl(command).run().success();
    }
    assert_eq!(db.rows("PRAGMA journal_mode"), ["delete"]);
}

#[rstest]
fn a_session_speaks_utc_whatever_the_server_is_set_to(
    #[values(Sqlite, Postgresql)] engine: Engine,
) {
    let db = TestDatabase::migrated(engine);
    if let Db::Pg(_) = db.open() {
        assert_eq!(db.rows("SELECT current_setting('timezone')"), ["UTC"]);
    }
    db.usagectl(["record", "--api", "finnhub"]).run().success();
    assert_eq!(
        db.rows("SELECT \"timestamp\", created_at FROM api_usage"),
        ["2026-01-31T12:00:00.000+00:00|2026-01-31T12:00:00.000+00:00"]
    );
}
