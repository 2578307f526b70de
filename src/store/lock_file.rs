//! The lock files beside a SQLite database: `<database>-migrate-lock` and so on.
//!
//! The lock is on the open file, not in its content, so a file left behind by an ended run does not hold it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown};

/// The path of the lock file: beside the database itself, even if `database` is a symbolic link to it.
pub(super) fn path(database: &Path, kind: &str) -> PathBuf {
    let database = fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = OsString::from(database);
    name.push(format!("-{kind}-lock"));
    PathBuf::from(name)
}

/// Opens a lock file, and creates it if it is missing. A user who may only read it can lock it as well.
pub(super) fn open(path: &Path, database: &Path) -> io::Result<File> {
    // Root must not write through another user's symbolic link.
    let open = |write: bool| {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(write)
            .custom_flags(flags)
            .open(path)
    };
    loop {
        let error = match open(true) {
            Ok(file) => {
                give(&file, database);
                return Ok(file);
            }
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound => match create(path, database) {
                // Another process created it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created,
            },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                return open(false);
            }
            _ => return Err(error),
        }
    }
}

fn create(path: &Path, database: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let new = options.read(true).write(true).create_new(true).mode(0o600);
    let file = new.open(path)?;
    give(&file, database);
    Ok(file)
}

/// Gives a lock file the owner and mode of the database, as SQLite does with its own files: one that root left behind
/// would otherwise lock out the owner, and the mode of the database may have changed.
fn give(file: &File, database: &Path) {
    let Ok(owner) = fs::metadata(database) else {
        return;
    };
    // Only root can give a file away; another user's file stays readable by the mode.
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    let _ = fchown(file, Some(user), Some(group)).or_else(|_| fchown(file, None, Some(group)));
    let _ = fchmod(file, Mode::from_raw_mode(owner.mode() & 0o666));
}
