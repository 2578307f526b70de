//! HTTP, for everything that goes out or asks a server. The policy is in one place:
//!
//! * https with the system's certificates; plain http only to this machine, unless it is allowed;
//! * a time limit for connecting and one for all of it; a limit for what a server may answer;
//! * redirects only within the same scheme, host and port, and never such that a body is lost;
//! * no error holds more of a URL than its host: paths and queries are secrets of many services.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Request as UreqRequest, Uri};
use ureq::{Agent, Body, Proxy};

pub use ureq::http::Method;

/// What is allowed and how much.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether plain http may leave this machine.
    pub insecure_http: bool,
    /// How long connecting may take.
    pub connect: Duration,
    /// How long everything may take, from the name's look-up to the last byte of the answer.
    pub total: Duration,
    /// How much of an answer is read.
    pub response: Limit,
}

/// How much of an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All of it; more than so many bytes are an error.
    Whole(u64),
    /// At most so many bytes, as far as they come: the status is what counts.
    Beginning(u64),
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            insecure_http: false,
            connect: Duration::from_secs(5),
            total: Duration::from_secs(10),
            response: Limit::Whole(1 << 20),
        }
    }
}

/// No honest server sends a request round more often.
const MOST_REDIRECTS: usize = 5;

/// An http or https URL. Shown by its host only.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    https: bool,
    host: String,
    port: u16,
}

/// Why a text is no URL of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// It is none, or of another kind.
    #[error("not a URL that begins with https:// or http://")]
    NotHttp,
    /// It has a user or a password in it.
    #[error("a URL with a user or a password in it is not accepted")]
    Credentials,
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Url, BadUrl> {
        let uri: Uri = text.trim().parse().map_err(|_| BadUrl::NotHttp)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(BadUrl::NotHttp),
        };
        let authority = uri.authority().ok_or(BadUrl::NotHttp)?;
        if authority.as_str().contains('@') {
            return Err(BadUrl::Credentials);
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(BadUrl::NotHttp);
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Url {
            https,
            host,
            port,
            uri,
        })
    }

    /// This URL with `path` after its own path.
    pub fn join(&self, path: &str) -> Result<Url, BadUrl> {
        let own = self.uri.path().trim_end_matches('/');
        let query = self.uri.query().map(|query| format!("?{query}"));
        let origin = self.to_string();
        Url::parse(&format!("{origin}{own}{path}{}", query.unwrap_or_default()))
    }

    /// The URL without its query, for lists of what a user entered openly.
    pub fn without_query(&self) -> String {
        format!("{self}{}", self.uri.path())
    }

    /// Whether it is https.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Whether it names this machine.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<std::net::IpAddr> = host.parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }

    fn has_origin_of(&self, other: &Url) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// Where a redirect leads; `None` if that is no URL of ours.
    fn redirected(&self, location: &str) -> Option<Url> {
        let scheme = if self.https { "https" } else { "http" };
        let absolute = if location.contains("://") {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{self}{location}")
        } else {
            let (directory, _) = self.uri.path().rsplit_once('/')?;
            format!("{self}{directory}/{location}")
        };
        Url::parse(&absolute).ok()
    }
}

impl fmt::Display for Url {
    /// Scheme, host and port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        match (self.https, self.port) {
            (true, 443) | (false, 80) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Something that nobody may see: not shown, not stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NoSecret {
    /// The variable is not there, or empty.
    #[error("the environment variable {0} is not set")]
    Unset(String),
    /// The file cannot be read.
    #[error("cannot read the secret in {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        reason: String,
    },
    /// The file has nothing in it.
    #[error("there is no secret in {}", .0.display())]
    Empty(PathBuf),
}

/// No secret is longer; a path to something endless is a mistake.
const LONGEST_SECRET: u64 = 1 << 16;

impl Secret {
    /// The value of an environment variable.
    pub fn from_env(name: &str) -> Result<Secret, NoSecret> {
        match std::env::var(name) {
            Ok(value) if !value.trim().is_empty() => Ok(Secret(value.trim().to_owned())),
            _ => Err(NoSecret::Unset(name.to_owned())),
        }
    }

    /// The content of a file, without the space around it.
    pub fn from_file(path: &Path) -> Result<Secret, NoSecret> {
        let unreadable = |reason: String| NoSecret::Unreadable {
            path: path.to_owned(),
            reason,
        };
        let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let mut text = String::new();
        // What is not UTF-8 is told without being shown.
        file.take(LONGEST_SECRET)
            .read_to_string(&mut text)
            .map_err(|error| unreadable(error.to_string()))?;
        match text.trim() {
            "" => Err(NoSecret::Empty(path.to_owned())),
            secret => Ok(Secret(secret.to_owned())),
        }
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is asked of a server. Not shown: headers and bodies hold secrets.
#[derive(Clone)]
pub struct Request {
    /// GET, POST, ...
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What is sent along; nothing if it is empty.
    pub body: Vec<u8>,
}

impl Request {
    /// Asks for what is at a URL.
    pub fn get(url: Url) -> Request {
        Request {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Sends JSON to a URL.
    pub fn post_json(url: Url, body: Vec<u8>) -> Request {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Request {
            method: Method::POST,
            url,
            headers,
            body,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Shows a token.
    pub fn bearer(self, token: &Secret) -> Request {
        self.header("Authorization", format!("Bearer {}", token.expose()))
    }

    /// Shows a user and a password.
    pub fn basic(self, user: &str, password: &Secret) -> Request {
        use base64::prelude::{BASE64_STANDARD, Engine};
        let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
        self.header("Authorization", format!("Basic {pair}"))
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// What a server answers, whatever the status.
#[derive(Clone, Debug)]
pub struct Response {
    /// 200, 404, ...
    pub status: u16,
    /// Names, in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// The body, unpacked, as far as the policy reads it.
    pub body: Vec<u8>,
}

impl Response {
    /// Whether the server is content.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer. `host` is a URL's scheme, host and port.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The policy forbids it.
    #[error("plain HTTP to {host} is refused: use https")]
    Insecure { host: String },
    /// `--no-default-features` leaves TLS out.
    #[error("{host} needs TLS, which this build does not have")]
    NoTls { host: String },
    /// A header that cannot be sent.
    #[error("the header {name} has characters that no header may have")]
    Header { name: String },
    /// There is no such host.
    #[error("{host} is not a host that the name service knows")]
    UnknownHost { host: String },
    /// No connection.
    #[error("cannot talk to {host}: {reason}")]
    Connection { host: String, reason: String },
    /// It took too long.
    #[error("{host} did not answer within {} s", limit.as_secs_f64())]
    Timeout { host: String, limit: Duration },
    /// More than the policy reads.
    #[error("{host} answered with more than {limit} bytes")]
    TooLarge { host: String, limit: u64 },
    /// A redirect that is not followed.
    #[error("{host} redirects ({status}) to where it is not followed")]
    Redirect { host: String, status: u16 },
    /// Not HTTP.
    #[error("{host} does not answer in HTTP: {reason}")]
    Protocol { host: String, reason: String },
}

/// Sends requests under one policy.
#[derive(Debug)]
pub struct Client {
    policy: Policy,
    agent: Agent,
}

impl Client {
    /// A client that keeps to `policy`.
    pub fn new(policy: Policy) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(policy.connect))
            .timeout_global(Some(policy.total))
            // A kept connection that the server has closed meanwhile looks like a failure.
            .max_idle_connections(0)
            .user_agent(concat!("usagectl/", env!("CARGO_PKG_VERSION")));
        #[cfg(feature = "tls")]
        let config = config.tls_config(
            ureq::tls::TlsConfig::builder()
                .provider(ureq::tls::TlsProvider::NativeTls)
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .build(),
        );
        Client {
            policy,
            agent: config.build().new_agent(),
        }
    }

    /// Makes sure that the policy lets a request go to this URL.
    pub fn allows(&self, url: &Url) -> Result<(), Error> {
        let host = url.to_string();
        if url.https && !cfg!(feature = "tls") {
            return Err(Error::NoTls { host });
        }
        if !url.https && !url.is_loopback() && !self.policy.insecure_http {
            return Err(Error::Insecure { host });
        }
        Ok(())
    }

    /// Sends a request and reads the answer, whatever its status.
    pub fn send(&self, request: Request) -> Result<Response, Error> {
        let mut request = request;
        for _ in 0..=MOST_REDIRECTS {
            let response = self.send_once(&request)?;
            let status = response.status;
            let moved = match status {
                307 | 308 => true,
                301..=303 => request.method == Method::GET,
                _ => return Ok(response),
            };
            let to = response
                .header("location")
                .and_then(|location| request.url.redirected(location));
            match to {
                Some(to) if moved && to.has_origin_of(&request.url) => request.url = to,
                _ => {
                    let host = request.url.to_string();
                    return Err(Error::Redirect { host, status });
                }
            }
        }
        let host = request.url.to_string();
        Err(Error::Redirect { host, status: 302 })
    }

    fn send_once(&self, request: &Request) -> Result<Response, Error> {
        let url = &request.url;
        self.allows(url)?;
        let mut prepared = UreqRequest::builder()
            .method(request.method.clone())
            .uri(url.uri.clone());
        for (name, value) in &request.headers {
            let bad = || Error::Header { name: name.clone() };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            prepared = prepared.header(header, value);
        }
        // What goes to this machine goes to no proxy.
        let proxy = match url.is_loopback() {
            true => None,
            false => Proxy::try_from_env(),
        };
        let sent = if request.body.is_empty() {
            let prepared = prepared.body(()).map_err(|error| self.failed(url, error))?;
            let configured = self.agent.configure_request(prepared);
            self.agent.run(configured.proxy(proxy).build())
        } else {
            let prepared = prepared
                .body(&request.body[..])
                .map_err(|error| self.failed(url, error))?;
            let configured = self.agent.configure_request(prepared);
            self.agent.run(configured.proxy(proxy).build())
        };
        let response = sent.map_err(|error| self.failed(url, error))?;
        let (head, body) = response.into_parts();
        let headers = head.headers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        });
        Ok(Response {
            status: head.status.as_u16(),
            headers: headers.collect(),
            body: self.read(url, body)?,
        })
    }

    fn read(&self, url: &Url, body: Body) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        match self.policy.response {
            Limit::Whole(limit) => {
                // One more than is allowed, of what was unpacked: a small answer may unpack to a large one.
                let mut reader = body.into_reader().take(limit.saturating_add(1));
                reader
                    .read_to_end(&mut bytes)
                    .map_err(|error| self.failed(url, ureq::Error::from(error)))?;
                if bytes.len() as u64 > limit {
                    let host = url.to_string();
                    return Err(Error::TooLarge { host, limit });
                }
            }
            Limit::Beginning(limit) => {
                // The server has said its status; what becomes of the rest is of no concern.
                let _ = body.into_reader().take(limit).read_to_end(&mut bytes);
            }
        }
        Ok(bytes)
    }

    /// The error without what may be a secret in it.
    fn failed(&self, url: &Url, error: impl Into<ureq::Error>) -> Error {
        let host = url.to_string();
        match error.into() {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                let limit = self.policy.connect;
                Error::Timeout { host, limit }
            }
            ureq::Error::Timeout(_) => {
                let limit = self.policy.total;
                Error::Timeout { host, limit }
            }
            ureq::Error::HostNotFound => Error::UnknownHost { host },
            ureq::Error::TlsRequired => Error::NoTls { host },
            ureq::Error::Io(error) => Error::Connection {
                host,
                reason: error.to_string(),
            },
            // These two hold a URL.
            ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => Error::Connection {
                host,
                reason: "the URL cannot be used".to_owned(),
            },
            error @ (ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..)) => {
                Error::Protocol {
                    host,
                    reason: error.to_string(),
                }
            }
            error => Error::Connection {
                host,
                reason: error.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_url_is_shown_by_its_host_only() {
        let secret = url("https://hooks.slack.com/services/T0/B0/s3cret?token=s3cret");
        assert_eq!(secret.to_string(), "https://hooks.slack.com");
        let request =
            Request::post_json(secret, b"s3cret".to_vec()).bearer(&Secret("s3cret".into()));
        assert_eq!(format!("{request:?}"), "POST https://hooks.slack.com");
        assert_eq!(url("http://[::1]:9093/x").to_string(), "http://[::1]:9093");
    }

    #[test]
    fn what_is_no_url_of_ours_is_refused_without_being_repeated() {
        for text in [
            "",
            "ftp://x/",
            "hooks.slack.com/x",
            "/etc/passwd",
            "https://",
            "https://a b",
        ] {
            assert_eq!(Url::parse(text), Err(BadUrl::NotHttp), "{text}");
        }
        assert_eq!(Url::parse("https://u:p@x/"), Err(BadUrl::Credentials));
    }

    #[test]
    fn a_path_goes_before_the_query() {
        let joined = |base: &str| {
            url(base)
                .join("/api/v2/alerts")
                .map(|url| url.uri.to_string())
        };
        assert_eq!(
            joined("http://am:9093").unwrap(),
            "http://am:9093/api/v2/alerts"
        );
        assert_eq!(
            joined("https://x/am/?a=b").unwrap(),
            "https://x/am/api/v2/alerts?a=b"
        );
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for text in [
            "http://localhost/",
            "http://127.0.0.1:8080/",
            "http://127.9.9.9/",
            "http://[::1]/",
        ] {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in [
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "http://127.0.0.1.nip.io/",
        ] {
            assert!(!url(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_redirect_leads_where_browsers_go() {
        let from = url("https://x/a/b?q");
        let to = |location: &str| from.redirected(location).map(|url| url.uri.to_string());
        assert_eq!(to("/c").as_deref(), Some("https://x/c"));
        assert_eq!(to("c").as_deref(), Some("https://x/a/c"));
        assert_eq!(to("//y/c").as_deref(), Some("https://y/c"));
        assert_eq!(to("ftp://y/c"), None);
        let same = |location: &str| from.redirected(location).unwrap().has_origin_of(&from);
        assert!(same("https://X:443/c"));
        assert!(!same("http://x/c") && !same("//y/c") && !same("https://x:444/c"));
    }

    #[test]
    fn a_secret_shows_nothing_and_knows_where_it_was_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        assert_eq!(
            format!("{} {secret} {secret:?}", secret.expose()),
            "s3cret *** ***"
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(Secret::from_file(&path), Err(NoSecret::Empty(_))));
        assert!(matches!(
            Secret::from_env("USAGECTL_NO_SUCH_VARIABLE"),
            Err(NoSecret::Unset(_))
        ));
    }

    #[test]
    fn plain_http_goes_no_further_than_this_machine() {
        let client = Client::new(Policy::default());
        assert!(client.allows(&url("http://127.0.0.1/")).is_ok());
        let refused = client.allows(&url("http://example.com/?token=s3cret"));
        let message = refused.unwrap_err().to_string();
        assert_eq!(
            message,
            "plain HTTP to http://example.com is refused: use https"
        );
        let insecure_http = true;
        let client = Client::new(Policy {
            insecure_http,
            ..Policy::default()
        });
        assert!(client.allows(&url("http://example.com/")).is_ok());
    }
}
