//! Opens files and stdin, and decompresses gzip and zstd.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::source_name::source_name;

#[derive(Debug)]
pub struct Input {
    pub name: String,
    /// Its name in derived ids.
    pub source: String,
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    File(File),
    Text(Cursor<Vec<u8>>),
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

impl Input {
    /// Opens a file; its source is its name without directories, and without what rotation adds.
    pub fn open(path: &Path) -> Result<Input, OpenError> {
        let failed = |source| OpenError {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let file_name = path.file_name().unwrap_or(path.as_os_str());
        Ok(Input {
            name: path.display().to_string(),
            source: source_name(&file_name.to_string_lossy()),
            stream: Stream::File(file),
        })
    }

    pub fn stdin() -> Result<Input, OpenError> {
        // Not `io::stdin()`: its buffer would cut every read to 8 KiB.
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let stdin = stdin.map_err(|source| OpenError {
            path: PathBuf::from("stdin"),
            source,
        })?;
        Ok(Input {
            name: "stdin".to_owned(),
            source: "-".to_owned(),
            stream: Stream::File(stdin.into()),
        })
    }

    pub fn text(name: &str, text: Vec<u8>) -> Input {
        Input {
            name: name.to_owned(),
            source: name.to_owned(),
            stream: Stream::Text(Cursor::new(text)),
        }
    }

    /// Sets its name in derived ids.
    #[must_use]
    pub fn with_source(mut self, source: Option<&str>) -> Input {
        if let Some(source) = source {
            self.source = source.to_owned();
        }
        self
    }

    /// Whether both are the same file, by any path.
    pub fn is_same(&self, other: &Input) -> bool {
        self.file_id().is_some_and(|id| Some(id) == other.file_id())
    }

    /// Whether it is the file at this path. A device is not: its input is not its output.
    pub fn is_at(&self, path: &Path) -> bool {
        let at = path.metadata().ok().filter(|at| at.is_file());
        at.is_some_and(|at| self.file_id() == Some((at.dev(), at.ino())))
    }

    /// Whether reading it may block for any length of time, as a pipe does.
    pub fn may_wait(&self) -> bool {
        match &self.stream {
            Stream::File(file) => !file.metadata().is_ok_and(|file| file.is_file()),
            Stream::Text(_) => false,
        }
    }

    fn file_id(&self) -> Option<(u64, u64)> {
        match &self.stream {
            Stream::File(file) => file.metadata().ok().map(|file| (file.dev(), file.ino())),
            Stream::Text(_) => None,
        }
    }

    /// The stream, decompressed.
    pub(super) fn into_reader(self) -> io::Result<Box<dyn Read>> {
        match self.stream {
            Stream::File(file) => decompressed(file),
            Stream::Text(text) => Ok(Box::new(text)),
        }
    }
}

/// The most memory a zstd stream may use, as a power of two. Levels up to 19 use 8 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// First bytes of formats that are not supported, and what to do about each.
const FOREIGN: &[(&[u8], &str)] = &[
    (
        b"BZh",
        "is compressed with bzip2: pipe it through `bzip2 -dc`",
    ),
    (
        b"\xfd7zXZ\0",
        "is compressed with xz: pipe it through `xz -dc`",
    ),
    (
        b"PK\x03\x04",
        "is a zip archive: pipe it through `unzip -p`",
    ),
    (
        b"\xff\xfe",
        "is UTF-16: pipe it through `iconv -f UTF-16 -t UTF-8`",
    ),
    (
        b"\xfe\xff",
        "is UTF-16: pipe it through `iconv -f UTF-16 -t UTF-8`",
    ),
    (
        b"PAR1",
        "is Parquet, which is not supported: export it as CSV or NDJSON",
    ),
    (
        b"SQLite format 3\0",
        "is a SQLite database: export it as CSV or NDJSON",
    ),
];

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

fn decompressed(mut file: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut beginning = Vec::new();
    // A pipe may deliver byte by byte.
    while beginning.len() < ZSTD.len() {
        let mut more = [0; 16];
        match file.read(&mut more) {
            Ok(0) => break,
            Ok(count) => beginning.extend_from_slice(&more[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let is = |magic: &[u8]| beginning.starts_with(magic);
    if let Some((_, reason)) = FOREIGN.iter().find(|(magic, _)| is(magic)) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, *reason));
    }
    let (gzip, zstd) = (is(GZIP), is(ZSTD));
    let whole = Cursor::new(beginning).chain(file);
    if gzip {
        return Ok(Box::new(MultiGzDecoder::new(whole)));
    }
    if zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(whole))?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(whole))
}

pub(super) fn explain(error: &io::Error) -> String {
    let text = error.to_string();
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "is compressed and truncated".to_owned(),
        _ if text.contains("too much memory") => {
            "requires more memory than zstd levels up to 19: pipe it through `zstd -dc --long=31`"
                .to_owned()
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: Vec<u8>) -> io::Result<String> {
        let mut text = String::new();
        decompressed(Cursor::new(bytes))?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compression_is_detected() {
        assert_eq!(read(b"plain".to_vec()).unwrap(), "plain");
        assert_eq!(read(b"a".to_vec()).unwrap(), "a");
        assert_eq!(read(Vec::new()).unwrap(), "");
        // Both formats may be concatenated; `cat a.gz b.gz` is common.
        assert_eq!(read([gzip("a"), gzip("b")].concat()).unwrap(), "ab");
        let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 0).unwrap();
        assert_eq!(read([zstd("a"), zstd("b")].concat()).unwrap(), "ab");
    }

    #[test]
    fn unsupported_format_is_named() {
        let refused = |bytes: &[u8]| read(bytes.to_vec()).unwrap_err().to_string();
        assert!(refused(b"BZh91AY").contains("bzip2"));
        assert!(refused(b"PK\x03\x04\0\0").contains("zip"));
        assert!(refused(b"\xff\xfe{\0").contains("UTF-16"));
        let mut cut = gzip("a long enough text to be cut");
        cut.truncate(cut.len() - 9);
        assert_eq!(
            explain(&read(cut).unwrap_err()),
            "is compressed and truncated"
        );
    }

    #[test]
    fn large_zstd_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.window_log(27).unwrap();
        for _ in 0..3_000 {
            encoder.write_all(&[b'x'; 8 * 1024]).unwrap();
        }
        let error = read(encoder.finish().unwrap()).unwrap_err();
        assert!(explain(&error).contains("--long=31"), "{error}");
    }
}
