//! The folder of an export: its files, written so that they survive a crash, and read back verified.

use std::fmt::Display;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use sha2::{Digest, Sha256};
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use crate::domain::format::hex;
use crate::domain::format::shell_word;
use crate::domain::schema::manifest::{Line, MANIFEST, Manifest, Part, TableExport};
use crate::error::{Error, Exit};
use crate::fault;

/// The version in the manifest of `prune`, which is not a migration.
pub const PRUNE: &str = "prune";

/// The manifest until it is complete.
const NEW_MANIFEST: &str = "manifest.json.new";

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} holds the export of another database: {other}", folder.display())]
    OtherDatabase { folder: PathBuf, other: String },
    #[error("there is no {MANIFEST} in {}", .0.display())]
    NoManifest(PathBuf),
    /// And the command that it was written for.
    #[error("{} was not written for this command", .0.display())]
    OtherCommand(PathBuf, &'static str),
    #[error("{}: cannot {action}", path.display())]
    File {
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{0}")]
    Damaged(String),
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Error {
        let exit = match &error {
            ArchiveError::File { .. } => Exit::Failed,
            _ => Exit::Refused,
        };
        let next = match &error {
            ArchiveError::NotEmpty(_) | ArchiveError::OtherDatabase { .. } => "name a new folder",
            ArchiveError::NoManifest(_) => {
                "name a folder that rollback --export or prune --archive wrote"
            }
            ArchiveError::OtherCommand(folder, command) => {
                let folder = shell_word(&folder.display().to_string());
                &format!("usagectl {command} {folder}")
            }
            ArchiveError::Damaged(_) => "restore from an unchanged copy of the folder",
            ArchiveError::File { .. } => "check the path, its permissions and free space",
        };
        Error::new(exit, error).with_next(next)
    }
}

type Result<T, E = ArchiveError> = std::result::Result<T, E>;

fn damaged(path: &Path, problem: impl Display) -> ArchiveError {
    ArchiveError::Damaged(format!("{}{problem}", path.display()))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> ArchiveError + 'a {
    move |source| ArchiveError::File {
        path: path.to_owned(),
        action,
        source,
    }
}

/// Opens the folder for writing: a new or empty one, or one with an incomplete export of the same database, which
/// is then continued.
pub fn open(folder: &Path, new: Manifest) -> Result<Manifest> {
    let made = DirBuilder::new().mode(0o700).create(folder);
    fault::point("folder");
    match made {
        Ok(()) => sync_folder(folder.parent().unwrap_or(folder))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("create this folder", folder)(error)),
    }
    let manifest = match interrupted(folder, &new.database)? {
        Some(found) => found,
        None => {
            let mode = fs::Permissions::from_mode(0o700);
            fs::set_permissions(folder, mode).map_err(failed("protect this folder", folder))?;
            new
        }
    };
    write_manifest(folder, &manifest)?;
    Ok(manifest)
}

/// Refuses a folder that [`open`] would refuse; writes nothing.
pub fn check(folder: &Path, database: &str) -> Result<()> {
    let written = match folder.exists() {
        true => interrupted(folder, database).map(|_| folder)?,
        false => folder
            .parent()
            .filter(|it| it.as_os_str() != "")
            .unwrap_or(Path::new(".")),
    };
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::access(written, access)
        .map_err(|error| failed("write to this folder", written)(error.into()))
}

/// The incomplete export of the database in this folder, or nothing if it is empty.
pub fn interrupted(folder: &Path, database: &str) -> Result<Option<Manifest>> {
    // A run that was killed while it wrote its first manifest exported nothing.
    let mut is_empty = true;
    for entry in fs::read_dir(folder).map_err(failed("read this folder", folder))? {
        let entry = entry.map_err(failed("read this folder", folder))?;
        is_empty &= entry.file_name() == NEW_MANIFEST;
    }
    if is_empty {
        return Ok(None);
    }
    let found = match read_manifest(folder) {
        Err(ArchiveError::NoManifest(folder)) => Err(ArchiveError::NotEmpty(folder)),
        found => found,
    }?;
    let folder = folder.to_owned();
    if found.complete {
        return Err(ArchiveError::NotEmpty(folder));
    }
    if !found.is_of(database) {
        let other = found.database;
        return Err(ArchiveError::OtherDatabase { folder, other });
    }
    Ok(Some(found))
}

/// Writes the manifest durably: it is the old or the new one after a crash.
pub fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<()> {
    let temporary = folder.join(NEW_MANIFEST);
    let path = folder.join(MANIFEST);
    let mut file = create(&temporary)?;
    fault::point("manifest");
    let written = serde_json::to_writer_pretty(&mut file, manifest)
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all());
    written.map_err(failed("write this file", &temporary))?;
    fault::point("manifest");
    fs::rename(&temporary, &path).map_err(failed("replace this file", &path))?;
    sync_folder(folder)?;
    fault::point("manifest");
    Ok(())
}

/// Removes the parts of a migration that an interrupted run wrote.
pub fn remove_parts(folder: &Path, version: &str) -> Result<()> {
    let prefix = format!("{version}_");
    for entry in fs::read_dir(folder).map_err(failed("read this folder", folder))? {
        let path = entry.map_err(failed("read this folder", folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy());
        if name.is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".ndjson.zst")) {
            fault::point("file");
            fs::remove_file(&path).map_err(failed("remove this file", &path))?;
        }
    }
    Ok(())
}

pub fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    match fs::read_to_string(&path) {
        Ok(text) => {
            Manifest::parse(&text).map_err(|error| damaged(&path, format_args!(": {error}")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ArchiveError::NoManifest(folder.to_owned()))
        }
        Err(error) => Err(failed("read this file", &path)(error)),
    }
}

/// Makes the names of the folder's files durable.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(failed("write this folder to disk", folder))
}

fn create(path: &Path) -> Result<File> {
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    opened.map_err(failed("create this file", path))
}

/// Writes to a file and computes its SHA-256.
struct Hashed<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file being written.
pub struct PartWriter {
    path: PathBuf,
    out: Encoder<'static, Hashed<BufWriter<File>>>,
    rows: u64,
    deleted: u64,
    truncated: bool,
}

impl PartWriter {
    /// Replaces a file that an interrupted run left.
    pub fn create(folder: &Path, file: &str) -> Result<PartWriter> {
        let path = folder.join(file);
        let hashed = Hashed {
            inner: BufWriter::new(create(&path)?),
            digest: Sha256::new(),
        };
        let out = Encoder::new(hashed, zstd::DEFAULT_COMPRESSION_LEVEL)
            .map_err(failed("write this file", &path))?;
        Ok(PartWriter {
            path,
            out,
            rows: 0,
            deleted: 0,
            truncated: false,
        })
    }

    pub fn write(&mut self, line: &Line, table: &TableExport) -> Result<()> {
        match line {
            Line::Row(_) => self.rows += 1,
            Line::Deleted(_) => self.deleted += 1,
            Line::Truncated => self.truncated = true,
        }
        let mut text = line.write(table);
        text.push('\n');
        let written = self.out.write_all(text.as_bytes());
        written.map_err(failed("write this file", &self.path))
    }

    /// Writes it to disk. Nothing if it has no line: the file is then removed.
    pub fn finish(self) -> Result<Option<Part>> {
        let PartWriter { path, .. } = self;
        fault::point("file");
        let hashed = self
            .out
            .finish()
            .map_err(failed("write this file", &path))?;
        let Hashed { inner, digest } = hashed;
        if self.rows == 0 && self.deleted == 0 && !self.truncated {
            fs::remove_file(&path).map_err(failed("remove this file", &path))?;
            return Ok(None);
        }
        let written = inner.into_inner().map_err(io::IntoInnerError::into_error);
        let synced = written.and_then(|file| file.sync_all());
        synced.map_err(failed("write this file to disk", &path))?;
        fault::point("file");
        let file = path.file_name().map(|name| name.to_string_lossy());
        Ok(Some(Part {
            file: file.unwrap_or_default().into_owned(),
            rows: self.rows,
            deleted: self.deleted,
            sha256: hex(&digest.finalize()),
        }))
    }
}

/// Compares every file with the manifest: its checksum, lines and counts.
pub fn verify(folder: &Path, manifest: &Manifest) -> Result<()> {
    for table in manifest.migrations.iter().flat_map(|it| &it.tables) {
        for part in &table.parts {
            let path = folder.join(&part.file);
            let mut file = File::open(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => damaged(&path, " is missing"),
                _ => failed("read this file", &path)(error),
            })?;
            let mut hashed = Hashed {
                inner: io::sink(),
                digest: Sha256::new(),
            };
            io::copy(&mut file, &mut hashed).map_err(failed("read this file", &path))?;
            if hex(&hashed.digest.finalize()) != part.sha256 {
                let problem = " was changed or is damaged: its SHA-256 differs from the manifest's";
                return Err(damaged(&path, problem));
            }
            let (mut rows, mut deleted) = (0, 0);
            for_each_line(folder, table, part, |line| {
                match line {
                    Line::Row(_) => rows += 1,
                    Line::Deleted(_) => deleted += 1,
                    Line::Truncated => {}
                }
                Ok::<(), ArchiveError>(())
            })?;
            for (found, expected) in [(rows, part.rows), (deleted, part.deleted)] {
                if found != expected {
                    let problem = format_args!(" has {found} rows, the manifest {expected}");
                    return Err(damaged(&path, problem));
                }
            }
        }
    }
    Ok(())
}

/// Calls `work` with each line of a part.
pub fn for_each_line<E: From<ArchiveError>>(
    folder: &Path,
    table: &TableExport,
    part: &Part,
    mut work: impl FnMut(Line) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let path = folder.join(&part.file);
    let file = File::open(&path).map_err(failed("read this file", &path))?;
    let decoder = Decoder::new(file).map_err(failed("read this file", &path))?;
    let mut lines = BufReader::new(decoder);
    let mut text = String::new();
    for number in 1.. {
        text.clear();
        let read = lines.read_line(&mut text);
        if read.map_err(failed("read this file", &path))? == 0 {
            break;
        }
        let line = Line::parse(&text, table)
            .map_err(|error| damaged(&path, format_args!(" line {number}: {error}")))?;
        work(line)?;
    }
    Ok(())
}
