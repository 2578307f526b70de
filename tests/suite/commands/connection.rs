//! The database of a command, and the errors when it cannot be used.

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
fn unknown_scheme_is_refused_and_creates_no_file() {
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
    error: --database-url has the unknown scheme `postgress`: expected sqlite, file, postgres or postgresql
    next: give --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
    assert_snapshot!(migrate(&sandbox, "usage.db").snapshot(), @r"
    ------- stderr -------
    error: --database-url has no scheme: expected sqlite:, file:, postgres: or postgresql:
    next: give --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
}

#[test]
fn invalid_url_is_not_replaced_by_another_source() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let run = db.usagectl(["stats", "--database-url", "usage.db"]).run();
    assert_eq!(run.code, 2, "{}", run.snapshot());

    let sandbox = Sandbox::new();
    sandbox.file(".env", format!("DATABASE_URL={}\n", db.url()));
    let run = sandbox.usagectl(["stats"]).env("DATABASE_URL", "").run();
    assert_snapshot!(run.snapshot(), @r"
    ------- stderr -------
    error: DATABASE_URL is set but empty
    next: give --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
}

#[test]
fn unreachable_postgresql_exits_7() {
    let sandbox = Sandbox::new();
    // Nothing listens on port 1.
    let url = format!("postgresql://app:{PASSWORD}@127.0.0.1:1/shop");
    assert_snapshot!(migrate(&sandbox, &url).snapshot(), @r#"
    ------- stderr -------
    error: cannot connect to postgresql://app:***@127.0.0.1:1/shop: connection to server at "127.0.0.1", port 1 failed: Connection refused; Is the server running on that host and accepting TCP/IP connections?
    next: check host and port, and that the server accepts connections
    [exit status: 7]
    "#);

    // The message for an unknown host depends on the network.
    let run = migrate(&sandbox, "postgres://app@no-such-host.invalid/shop");
    assert_eq!(run.code, 7);
    assert!(
        run.stderr.contains("no-such-host.invalid"),
        "{}",
        run.stderr
    );

    let run = migrate(&sandbox, "postgres://app@127.0.0.1:1/shop?sslmod=require");
    assert_snapshot!(run.snapshot(), @r"
    ------- stderr -------
    error: --database-url has the unknown TLS parameter `sslmod`
    next: correct or remove that parameter: libpq's are sslmode, sslrootcert, sslcert, sslkey and others
    [exit status: 2]
    ");
}

/// libpq names the mode that it was given.
#[test]
fn error_about_tls_names_the_mode_of_the_url() {
    let db = TestDatabase::empty(Engine::Postgresql);
    for (parameter, read) in [
        (
            "sslmode=no-verify",
            "read `sslmode=no-verify` as `sslmode=require`",
        ),
        (
            "sslaccept=strict",
            "read Prisma's `sslaccept=strict` as `sslmode=verify-full`",
        ),
        ("ssl=true", "read `ssl` as `sslmode=require`"),
        ("sslmode=maybe", "invalid sslmode value: \"maybe\""),
    ] {
        let separator = if db.url().contains('?') { '&' } else { '?' };
        let run = migrate(db.sandbox(), &format!("{}{separator}{parameter}", db.url()));
        assert_eq!(run.code, 7, "{}", run.snapshot());
        assert!(run.stderr.contains(read), "{}", run.snapshot());
    }
}

#[test]
fn rejected_login_exits_7() {
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
fn url_that_libpq_cannot_parse_is_masked() {
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
fn only_migrate_creates_the_sqlite_file() {
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
fn other_files_are_refused_and_unchanged() {
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
    next: use another file: usagectl --database-url sqlite:PATH
    [exit status: 7]
    ");
    assert_snapshot!(migrate(&sandbox, "sqlite:text").snapshot(), @r"
    ------- stderr -------
    error: text is not a SQLite database
    next: use another file: usagectl --database-url sqlite:PATH
    [exit status: 7]
    ");
    assert_snapshot!(migrate(&sandbox, "sqlite:pipe").snapshot(), @r"
    ------- stderr -------
    error: pipe is not a SQLite database
    next: use another file: usagectl --database-url sqlite:PATH
    [exit status: 7]
    ");
    assert_snapshot!(migrate(&sandbox, "sqlite:no/such/usage.db").snapshot(), @r"
    ------- stderr -------
    error: no directory no/such
    next: mkdir -p no/such
    [exit status: 7]
    ");
    let text = fs::read_to_string(sandbox.work().join("text")).unwrap();
    assert!(text.starts_with("This is a text"));
    assert!(fs::metadata(pipe).unwrap().file_type().is_fifo());
}

#[test]
fn damaged_sqlite_file_is_reported() {
    let db = TestDatabase::migrated(Engine::Sqlite);
    let mut bytes = fs::read(db.path()).unwrap();
    // The header stays valid, the rest is overwritten.
    bytes[100..].fill(0xaa);
    fs::write(db.path(), bytes).unwrap();
    assert_snapshot!(db.usagectl(["stats"]).run().snapshot(), @r"
    ------- stderr -------
    error: cannot open [dir]/usage.db: database disk image is malformed
    next: restore a backup, or recover the data with sqlite3 [dir]/usage.db .recover
    [exit status: 7]
    ");
}

#[test]
fn unreadable_sqlite_file_exits_7() {
    let sandbox = Sandbox::new();
    let path = sandbox.work().join("usage.db");
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if root {
        // Permissions do not apply to root; a link to itself cannot be opened by any user.
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
            .ends_with("next: check the path and its permissions\n")
    );
}

#[rstest]
fn unmigrated_database_points_to_migrate(#[values(Sqlite, Postgresql)] engine: Engine) {
    let db = TestDatabase::empty(engine);
    db.execute("CREATE TABLE other (n INTEGER)");
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
fn default_is_a_private_file_in_the_data_directory() {
    let sandbox = Sandbox::new();
    let data = sandbox.home().join(".local/share");
    assert_snapshot!(sandbox.usagectl(["stats"]).run().snapshot(), @r"
    ------- stderr -------
    error: there is no database at [dir]/home/.local/share/usagectl/usagectl.db
    next: set DATABASE_URL; or, to create this file: usagectl migrate
    [exit status: 7]
    ");
    let run = sandbox.usagectl(["migrate", "-v"]).run().success();
    let database = data.join("usagectl/usagectl.db");
    let used = format!(
        "using sqlite:{} (from the default location)\n",
        database.display()
    );
    assert!(run.stderr.starts_with(&used), "{}", run.stderr);
    assert_eq!(mode(&database), 0o600);
    assert_eq!(mode(data.join("usagectl")), 0o700);
    sandbox.usagectl(["status"]).run().success();

    // Without XDG_DATA_HOME, or with a relative one, which the specification says to ignore.
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
    error: no database URL is given, and there is no home directory for the default one
    next: give --database-url sqlite:PATH or postgresql://USER@HOST/DATABASE
    [exit status: 2]
    ");
}

#[test]
fn sqlite_files_are_private_with_any_umask() {
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
fn dot_env_is_found_upward_and_has_lowest_precedence() {
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
    // The path is relative to the `.env` file, not to the working directory.
    let work = sandbox.work().display().to_string();
    let used = format!("using sqlite:{work}/from-dot-env.db (from DATABASE_URL in {work}/.env)");
    assert_eq!(
        lines,
        [
            used.as_str(),
            "ignored `connection_limit`: not supported for SQLite"
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
fn invalid_line_of_dot_env_is_not_printed() {
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
fn byte_order_mark_in_dot_env_does_not_hide_the_url() {
    let sandbox = Sandbox::new();
    sandbox.file(".env", "\u{feff}DATABASE_URL=sqlite:usage.db\r\n");
    let run = sandbox.usagectl(["migrate"]).run();
    run.success();
    assert!(sandbox.work().join("usage.db").exists());
}

#[test]
fn unescaped_dollar_in_dot_env_is_named() {
    let sandbox = Sandbox::new();
    sandbox.file(".env", "DATABASE_URL=postgres://app:pa$word@h/d\n");
    assert_snapshot!(sandbox.usagectl(["status"]).run().snapshot(), @r"
    ------- stderr -------
    error: cannot read [dir]/app/.env: line 1: a `$` in the value of DATABASE_URL names no variable; write it as \$, or put the value in single quotes (a variable is written as ${NAME}, without a default)
    next: correct the .env file, or give --database-url
    [exit status: 2]
    ");
}

#[test]
fn url_of_a_hosting_platform_is_accepted_postgresql() {
    let db = TestDatabase::empty(Engine::Postgresql);
    let joint = if db.url().contains('?') { '&' } else { '?' };
    let url = format!(
        "\"{}{joint}supa=base-pooler.x&uselibpqcompat=true&statement_timeout=5000\"",
        db.url()
    );
    let run = db
        .usagectl(["migrate", "-v"])
        .env("DATABASE_URL", &url)
        .run()
        .success();
    let notes: Vec<&str> = run.stderr.lines().skip(1).take(4).collect();
    assert_eq!(
        notes,
        [
            "ignored `supa`: not a parameter of libpq",
            "ignored `uselibpqcompat`: not a parameter of libpq",
            "ignored `statement_timeout`: not a parameter of libpq",
            "ignored the quotes around DATABASE_URL",
        ]
    );
}

/// A schema of Prisma up to 6 requires a `url`; from 7 it may not have one.
/// Prisma Accelerate and Prisma Postgres; only Prisma's own client understands it.
#[rstest]
fn direct_url_replaces_the_url_of_a_proxy_of_prisma(
    #[values(
        "prisma://proxy.example/?api_key=",
        "prisma+postgres://localhost:1/?api_key="
    )]
    proxy: &str,
    #[values(false, true)] in_dot_env: bool,
) {
    let sandbox = Sandbox::new();
    let proxy = format!("{proxy}{PASSWORD}");
    let run = |args: &[&str]| sandbox.usagectl(args).env("DATABASE_URL", &proxy);
    for args in [["status"], ["migrate"]] {
        let refused = run(&args).run();
        assert_eq!(refused.code, 2, "{}", refused.snapshot());
        let next = "next: set DIRECT_URL to the URL of the server itself: postgresql://";
        assert!(refused.stderr.contains(next), "{}", refused.stderr);
        assert!(!refused.stderr.contains(PASSWORD), "{}", refused.stderr);
    }
    if in_dot_env {
        sandbox.file(".env", "DIRECT_URL=sqlite:direct.db\n");
    }
    for args in [
        "migrate",
        "rollback --dry-run",
        "status",
        "record --api tmdb",
        "aggregate",
    ] {
        let program = run(&args.split(' ').collect::<Vec<_>>());
        match in_dot_env {
            true => program,
            false => program.env("DIRECT_URL", "sqlite:direct.db"),
        }
        .run()
        .success();
    }
}

fn prisma_schema(url: &str) -> String {
    format!("datasource db {{\n  provider = \"sqlite\"\n  {url}\n}}\n")
}

#[rstest]
#[case::up_to_6("url = env(\"DATABASE_URL\")", "prisma/dev.db")]
#[case::from_7("", "dev.db")]
fn file_url_names_the_file_that_prisma_uses(
    #[case] url: &str,
    #[case] expected: &str,
    #[values(".env", "environment", "flag")] place: &str,
) {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    fs::create_dir_all(work.join("prisma")).unwrap();
    fs::create_dir_all(work.join("src")).unwrap();
    sandbox.file("prisma/schema.prisma", prisma_schema(url));
    if place == ".env" {
        sandbox.file(".env", "DATABASE_URL=\"file:./dev.db\"\n");
    }
    let usagectl = |command: &str| {
        let program = sandbox.usagectl([command]).current_dir(work.join("src"));
        match place {
            "environment" => program.env("DATABASE_URL", "file:./dev.db"),
            "flag" => program.arg("--database-url=file:./dev.db"),
            _ => program,
        }
    };
    usagectl("migrate").run().success();
    assert!(work.join(expected).exists());
    usagectl("status").run().success();
    let databases = ["dev.db", "prisma/dev.db", "src/dev.db"].map(|it| work.join(it).exists());
    assert_eq!(databases.iter().filter(|exists| **exists).count(), 1);
}

/// Prisma up to 6 resolves the path from the file with the `datasource`.
#[rstest]
#[case::package("package.json", r#"{"prisma": {"schema": "./db/schema"}}"#)]
#[case::config(
    "prisma.config.ts",
    "export default {\n  schema: path.join('db', 'schema'),\n}\n"
)]
fn database_beside_a_folder_of_schema_files_is_found(#[case] file: &str, #[case] content: &str) {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    fs::create_dir_all(work.join("db/schema")).unwrap();
    sandbox.file(file, content);
    sandbox.file(
        "db/schema/a_models.prisma",
        "model A {\n  id String @id\n}\n",
    );
    let schema = prisma_schema("url = env(\"DATABASE_URL\")");
    sandbox.file("db/schema/main.prisma", schema);
    let program = sandbox.usagectl(["migrate"]);
    program.env("DATABASE_URL", "file:./dev.db").run().success();
    assert!(work.join("db/schema/dev.db").exists());
    assert!(!work.join("dev.db").exists());
}

/// The package of a monorepo that the command is run in has no schema.
#[rstest]
#[case::repository(true)]
#[case::no_repository(false)]
fn schema_above_a_package_is_found(#[case] is_repository: bool) {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    fs::create_dir_all(work.join("apps/web/src")).unwrap();
    fs::create_dir_all(work.join("prisma")).unwrap();
    if is_repository {
        fs::create_dir(work.join(".git")).unwrap();
    }
    sandbox.file("apps/web/package.json", "{}");
    let schema = prisma_schema("url = env(\"DATABASE_URL\")");
    sandbox.file("prisma/schema.prisma", schema);
    let program = sandbox
        .usagectl(["migrate"])
        .env("DATABASE_URL", "file:./dev.db");
    program
        .current_dir(work.join("apps/web/src"))
        .run()
        .success();
    assert!(work.join("prisma/dev.db").exists());
}

#[rstest]
#[case::usual("prisma", None)]
#[case::configured("db/orm", Some(r#"{"prisma": {"schema": "db/orm/schema.prisma"}}"#))]
fn dot_env_of_prisma_has_lower_precedence_than_the_others(
    #[case] directory: &str,
    #[case] package: Option<&str>,
) {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    fs::create_dir_all(work.join(directory)).unwrap();
    fs::create_dir_all(work.join("src")).unwrap();
    if let Some(package) = package {
        sandbox.file("package.json", package);
    }
    let schema = prisma_schema("url = env(\"DATABASE_URL\")");
    sandbox.file(&format!("{directory}/schema.prisma"), schema);
    let url = "DATABASE_URL=\"file:./dev.db\"\n";
    sandbox.file(&format!("{directory}/.env"), url);
    sandbox.file(".env", "TITLE=shop\n");
    let used = |command: &str| {
        let program = sandbox.usagectl([command, "-v"]);
        let run = program.current_dir(work.join("src")).run().success();
        run.stderr.lines().next().unwrap().to_owned()
    };
    let work = work.display();
    for command in ["migrate", "status"] {
        let expected = format!(
            "using sqlite:{work}/{directory}/dev.db (from DATABASE_URL in {work}/{directory}/.env)"
        );
        assert_eq!(used(command), expected);
    }
    sandbox.file(".env", "DATABASE_URL=sqlite:root.db\n");
    let expected = format!("using sqlite:{work}/root.db (from DATABASE_URL in {work}/.env)");
    assert_eq!(used("migrate"), expected);
}

#[test]
fn invalid_line_of_prismas_dot_env_is_an_error() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.work().join("prisma")).unwrap();
    sandbox.file("prisma/.env", "DATABASE_URL=postgres://app:pa$word@h/d\n");
    let run = sandbox.usagectl(["status"]).run();
    assert_eq!(run.code, 2);
    assert!(
        run.stderr
            .contains("app/prisma/.env: line 1: a `$` in the value of DATABASE_URL"),
        "{}",
        run.stderr
    );
}

#[test]
fn second_database_beside_the_one_of_prisma_is_not_created() {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    fs::create_dir_all(work.join("prisma")).unwrap();
    sandbox.file("prisma/schema.prisma", prisma_schema(""));
    sandbox.file(".env", "DATABASE_URL=file:./dev.db\n");
    migrate(&sandbox, "sqlite:prisma/dev.db").success();
    for command in [
        &["migrate"] as &[&str],
        &["migrate", "--dry-run"],
        &["status"],
    ] {
        let run = sandbox.usagectl(command).run();
        assert_snapshot!(run.snapshot(), @r"
        ------- stderr -------
        error: there is no database at [dir]/app/dev.db, which the URL names by Prisma's rules, but there is one at [dir]/app/prisma/dev.db
        next: usagectl --database-url sqlite:[dir]/app/prisma/dev.db status
        [exit status: 5]
        ");
    }
    assert!(!work.join("dev.db").exists());
    // A `sqlite:` URL is not Prisma's: it is relative to the working directory.
    migrate(&sandbox, "sqlite:./dev.db").success();
}

/// Prisma's schema is in one of two packages, and the command is run in the other one or at the root.
#[rstest]
fn database_of_another_package_is_pointed_out(
    #[values("packages/admin", ".")] place: &str,
    #[values("prisma/dev.db", "dev.db")] file: &str,
) {
    let sandbox = Sandbox::new();
    let work = sandbox.work();
    for directory in [".git", "packages/admin", "packages/api/prisma"] {
        fs::create_dir_all(work.join(directory)).unwrap();
    }
    sandbox.file("packages/admin/package.json", "{}");
    sandbox.file("packages/api/package.json", "{}");
    sandbox.file("packages/api/prisma/schema.prisma", prisma_schema(""));
    migrate(&sandbox, &format!("sqlite:packages/api/{file}")).success();
    let refused = |message: &str, next: &str| {
        for command in ["migrate", "status"] {
            let run = sandbox
                .usagectl([command])
                .current_dir(work.join(place))
                .run();
            assert_eq!(run.code, 5, "{}", run.snapshot());
            assert!(run.stderr.contains(message), "{}", run.stderr);
            assert!(run.stderr.contains(next), "{}", run.stderr);
        }
    };
    sandbox.file("packages/api/.env", "DATABASE_URL=file:./dev.db\n");
    let work_shown = work.display();
    refused(
        &format!("no database URL is given, but there is one in {work_shown}/packages/api/.env\n"),
        &format!("next: cd {work_shown}/packages/api, then"),
    );
    fs::rename(work.join("packages/api/.env"), work.join(".env")).unwrap();
    refused(
        &format!("but there is one at {work_shown}/packages/api/{file}\n"),
        &format!("next: usagectl --database-url sqlite:{work_shown}/packages/api/{file} status"),
    );
    assert!(!work.join("dev.db").exists());
}

#[test]
fn two_names_of_one_file_are_one_database() {
    let sandbox = Sandbox::new();
    let run = |direct: &str| {
        let program = sandbox.usagectl(["migrate"]);
        let program = program.env("DATABASE_URL", "sqlite:a.db");
        program.env("DIRECT_URL", direct).run()
    };
    run("sqlite:./a.db").success();
    std::os::unix::fs::symlink("a.db", sandbox.work().join("link.db")).unwrap();
    run("sqlite:link.db").success();
    assert_eq!(run("sqlite:b.db").code, 5);
}

#[test]
fn direct_url_is_used_by_migrate_and_rollback_only() {
    let sandbox = Sandbox::new();
    let with_both = |args: &[&str]| {
        sandbox
            .usagectl(args)
            .arg("-v")
            .env("DATABASE_URL", "sqlite:pooled.db")
            .env("DIRECT_URL", "sqlite:direct.db")
    };
    let run = with_both(&["migrate", "--confirm-database", "direct.db"])
        .run()
        .success();
    assert!(
        run.stderr
            .contains("using sqlite:direct.db (from DIRECT_URL)\n"),
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
fn prisma_url_is_accepted_postgresql() {
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
    ignored Prisma's `connection_limit`: usagectl uses one connection
    ignored Prisma's `pool_timeout`: usagectl uses one connection
    ignored Prisma's `pgbouncer`: `migrate` and `rollback` require a direct connection, set DIRECT_URL
    ignored Prisma's `sslidentity`: libpq reads PEM files, give `sslcert` and `sslkey`
    ");
    assert_eq!(
        db.rows("SELECT schemaname FROM pg_tables WHERE tablename = 'api_usage'"),
        ["portal"]
    );
    let run = db.usagectl(["status"]).env("DATABASE_URL", &url).run();
    run.success();
}

#[test]
fn only_migrate_switches_to_wal_sqlite() {
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
fn session_time_zone_is_utc(#[values(Sqlite, Postgresql)] engine: Engine) {
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
