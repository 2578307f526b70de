//! The migrations themselves: what each does to the catalogue of a real database, and that undoing it
//! leaves no trace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use usagectl::domain::catalogue::Effect;
use usagectl::store::catalogue;
use usagectl::store::migrations::{ALL, Migration};

use crate::support::{Engine, TestDatabase, both_engines_empty};

fn folder(engine: Engine) -> PathBuf {
    let name = match engine {
        Engine::Sqlite => "sqlite",
        Engine::Postgresql => "postgres",
    };
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("migrations")
        .join(name)
}

fn folder_of(engine: Engine, migration: &Migration) -> PathBuf {
    folder(engine).join(migration.to_string())
}

#[test]
fn both_folders_hold_exactly_the_listed_migrations() {
    let listed: BTreeSet<String> = ALL.iter().map(Migration::to_string).collect();
    for engine in [Engine::Sqlite, Engine::Postgresql] {
        let found: BTreeSet<String> = fs::read_dir(folder(engine))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(found, listed, "{engine:?}");
    }
}

both_engines_empty! {
    /// `USAGECTL_WRITE_EFFECTS=1` writes the files instead, after a change of a migration.
    fn every_migration_does_to_the_catalogue_what_its_effect_says(db: TestDatabase) {
        let mut before = catalogue::read(&mut db.open()).unwrap();
        for migration in ALL {
            db.usagectl(["migrate", "--to", migration.version]).run().success();
            let after = catalogue::read(&mut db.open()).unwrap();
            let effect = Effect::between(&before, &after);
            let file = folder_of(db.engine(), migration).join("effect.txt");
            if std::env::var_os("USAGECTL_WRITE_EFFECTS").is_some() {
                fs::write(&file, effect.to_string()).unwrap();
            }
            let written = fs::read_to_string(&file).unwrap();
            assert_eq!(effect, Effect::parse(&written), "{}", file.display());
            before = after;
        }
    }
}
