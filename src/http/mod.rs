//! The HTTP client of collectors and notifications. Its policy:
//!
//! * https with the system's certificates; plain http only to this machine, unless allowed;
//! * time limits for connecting and for the whole request; a size limit for the answer;
//! * redirects only within the same scheme, host and port, and only if no request body is lost;
//! * proxies as in curl, see [`proxy`];
//! * errors contain no more of a URL than its origin, since paths and queries may be secrets.

mod proxy;

use std::fmt;
use std::io::Read;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Request as UreqRequest, Response as UreqResponse, Uri};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector, DefaultConnector};
use ureq::{Agent, AsSendBody, Body, Proxy};

use self::proxy::AbsoluteForm;
use crate::dot_env;

pub use ureq::http::{HeaderName, HeaderValue, Method};

#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether plain http to other machines is allowed.
    pub insecure_http: bool,
    pub connect: Duration,
    /// Time limit from the name look-up to the last byte of the answer.
    pub total: Duration,
    pub response: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All of it; a longer answer is an error.
    Whole(u64),
    /// At most this many bytes; a failure after the status is ignored.
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

const MAX_REDIRECTS: usize = 5;

/// An http or https URL. Printed as its origin only.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    uri: Uri,
    https: bool,
    host: String,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("expected a URL that begins with https:// or http://")]
    NotHttp,
    #[error("a URL with a user or password is not accepted")]
    Credentials,
}

impl Url {
    pub fn parse(text: &str) -> Result<Url, InvalidUrl> {
        let uri: Uri = text.trim().parse().map_err(|_| InvalidUrl::NotHttp)?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(InvalidUrl::NotHttp),
        };
        let authority = uri.authority().ok_or(InvalidUrl::NotHttp)?;
        if authority.as_str().contains('@') {
            return Err(InvalidUrl::Credentials);
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(InvalidUrl::NotHttp);
        }
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Url {
            https,
            host,
            port,
            uri,
        })
    }

    /// This URL with `path` appended to its path.
    pub fn join(&self, path: &str) -> Result<Url, InvalidUrl> {
        let own = self.uri.path().trim_end_matches('/');
        let query = self.uri.query().map(|query| format!("?{query}"));
        let origin = self.to_string();
        Url::parse(&format!("{origin}{own}{path}{}", query.unwrap_or_default()))
    }

    /// The URL without its query, for lists of URLs that are no secret.
    pub fn without_query(&self) -> String {
        format!("{self}{}", self.uri.path())
    }

    pub fn is_https(&self) -> bool {
        self.https
    }

    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = host.parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }

    /// Whether all addresses of the host are private or of this machine. Looks the name up.
    pub fn is_private(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let addresses = (host, self.port).to_socket_addrs();
        let addresses: Vec<_> = addresses.into_iter().flatten().collect();
        !addresses.is_empty()
            && addresses
                .iter()
                .all(|it| is_private(it.ip().to_canonical()))
    }

    fn has_origin_of(&self, other: &Url) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// The target of a redirect; `None` if it is not an http or https URL.
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

/// Whether an address is of this machine, or of a private network (RFC 1918, 4193 and 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            v4.is_private() || v4.is_loopback() || is_shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback(),
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

/// A secret, which is never printed or stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why there is no secret, as a sentence without it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(String);

/// Bounds the read of a path to an endless file.
const MAX_SECRET_BYTES: u64 = 1 << 16;

impl Secret {
    pub fn from_env(name: &str) -> Result<Secret, SecretError> {
        match std::env::var(name) {
            Ok(value) if !value.trim().is_empty() => Ok(Secret(value.trim().to_owned())),
            // Or empty.
            _ => Err(SecretError(not_set(name))),
        }
    }

    /// The variable of the environment, or else of the nearest `.env`, as for the database URL.
    pub fn from_variable(name: &str) -> Result<Secret, SecretError> {
        if let Ok(secret) = Secret::from_env(name) {
            return Ok(secret);
        }
        let reason = match dot_env::read(&[name]) {
            Ok(None) => "there is no .env file".to_owned(),
            Ok(Some(file)) => match file.variables.into_iter().next() {
                Some((_, value)) if !value.trim().is_empty() => {
                    return Ok(Secret(value.trim().to_owned()));
                }
                _ => format!("{} does not set it", file.path.display()),
            },
            Err(error) => error.to_string(),
        };
        Err(SecretError(format!("{}, and {reason}", not_set(name))))
    }

    /// The content of a file, without the space around it.
    pub fn from_file(path: &Path) -> Result<Secret, SecretError> {
        let unreadable = |error: std::io::Error| {
            SecretError(format!(
                "cannot read the secret in {}: {error}",
                path.display()
            ))
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        // The error of invalid UTF-8 does not contain the bytes.
        let read = file.take(MAX_SECRET_BYTES).read_to_string(&mut text);
        read.map_err(unreadable)?;
        match text.trim() {
            "" => Err(SecretError(format!(
                "{} is empty, expected a secret",
                path.display()
            ))),
            secret => Ok(Secret(secret.to_owned())),
        }
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

fn not_set(variable: &str) -> String {
    format!("the environment variable {variable} is not set")
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

/// A request. Headers and body may contain secrets and are not printed.
#[derive(Clone)]
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    /// No body is sent if empty.
    pub body: Vec<u8>,
}

impl Request {
    pub fn get(url: Url) -> Request {
        Request {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn post(url: Url, body: Vec<u8>, content_type: &str) -> Request {
        let request = Request {
            method: Method::POST,
            body,
            ..Request::get(url)
        };
        request.header("Content-Type", content_type)
    }

    pub fn post_json(url: Url, body: Vec<u8>) -> Request {
        Request::post(url, body, "application/json")
    }

    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn bearer(self, token: &Secret) -> Request {
        self.header("Authorization", format!("Bearer {}", token.expose()))
    }

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

/// An answer of any status.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// Decompressed, up to the limit of the policy.
    pub body: Vec<u8>,
}

impl Response {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Why there is no answer: a sentence that names the origin of the URL, and no more of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

#[derive(Debug)]
pub struct Client {
    policy: Policy,
    agent: Agent,
}

impl Client {
    pub fn new(policy: Policy) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(policy.connect))
            .timeout_global(Some(policy.total))
            // An idle connection that the server has closed looks like a failure.
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

    pub fn allows(&self, url: &Url) -> Result<(), Error> {
        if url.https && !cfg!(feature = "tls") {
            return Err(no_tls(url));
        }
        if !url.https && !url.is_loopback() && !self.policy.insecure_http {
            return Err(Error(format!("plain HTTP to {url} is refused: use https")));
        }
        Ok(())
    }

    pub fn send(&self, mut request: Request) -> Result<Response, Error> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(&request)?;
            let status = response.status;
            let keeps_body = match status {
                307 | 308 => true,
                301..=303 => request.method == Method::GET,
                _ => return Ok(response),
            };
            let url = &request.url;
            let location = response.header("location");
            let to = location.and_then(|location| url.redirected(location));
            let problem = match to {
                Some(to) if !to.has_origin_of(url) => not_followed(&to),
                Some(to) if keeps_body => {
                    request.url = to;
                    continue;
                }
                Some(_) => "a request with a body so that the body is lost".to_owned(),
                None => not_followed(&"an address that is not a URL of http or https"),
            };
            return Err(Error(format!("{url} redirects ({status}) {problem}")));
        }
        let url = request.url;
        Err(Error(format!(
            "{url} redirects more than {MAX_REDIRECTS} times"
        )))
    }

    fn send_once(&self, request: &Request) -> Result<Response, Error> {
        let url = &request.url;
        self.allows(url)?;
        let (variable, proxy) = proxy::for_url(url)?.unzip();
        let mut prepared = UreqRequest::builder()
            .method(request.method.clone())
            .uri(url.uri.clone());
        for (name, value) in &request.headers {
            let bad = || Error(format!("invalid characters in the header {name}"));
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            prepared = prepared.header(header, value);
        }
        let sent = match &request.body[..] {
            [] => self.run(prepared.body(()), proxy),
            body => self.run(prepared.body(body), proxy),
        };
        let response = sent.map_err(|error| self.error(url, error, variable))?;
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

    fn run(
        &self,
        request: ureq::http::Result<UreqRequest<impl AsSendBody>>,
        proxy: Option<Proxy>,
    ) -> Result<UreqResponse<Body>, ureq::Error> {
        let mut request = request?;
        if let Some(proxy) = proxy
            .as_ref()
            .filter(|_| request.uri().scheme_str() == Some("http"))
            && let Some(form) = AbsoluteForm::direct_to(proxy, &mut request)?
        {
            let connector = DefaultConnector::default().chain(form);
            let config = self.agent.config().clone();
            let agent = Agent::with_parts(config, connector, DefaultResolver::default());
            let configured = agent.configure_request(request);
            return agent.run(configured.proxy(None).build());
        }
        let configured = self.agent.configure_request(request);
        self.agent.run(configured.proxy(proxy).build())
    }

    fn read(&self, url: &Url, body: Body) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        match self.policy.response {
            Limit::Whole(limit) => {
                // One byte more than allowed, of the decompressed body.
                let mut reader = body.into_reader().take(limit.saturating_add(1));
                let read = reader.read_to_end(&mut bytes);
                read.map_err(|error| self.error(url, error.into(), None))?;
                if bytes.len() as u64 > limit {
                    return Err(Error(format!(
                        "{url} answered with more than {limit} bytes"
                    )));
                }
            }
            Limit::Beginning(limit) => {
                // Only the status matters.
                let _ = body.into_reader().take(limit).read_to_end(&mut bytes);
            }
        }
        Ok(bytes)
    }

    /// The error without the parts of the URL that may be secret; `proxy` is the variable that names the proxy.
    fn error(&self, url: &Url, error: ureq::Error, proxy: Option<&str>) -> Error {
        let reason = match error {
            ureq::Error::Timeout(at) => {
                let limit = match at {
                    ureq::Timeout::Connect | ureq::Timeout::Resolve => {
                        self.policy.connect.min(self.policy.total)
                    }
                    _ => self.policy.total,
                };
                return Error(format!(
                    "{url} did not answer within {} s",
                    limit.as_secs_f64()
                ));
            }
            ureq::Error::HostNotFound => return Error(format!("unknown host {url}")),
            ureq::Error::TlsRequired => return no_tls(url),
            error @ (ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..)) => {
                return Error(format!("{url} does not answer in HTTP: {error}"));
            }
            ureq::Error::Io(error) => error.to_string(),
            // Both contain the URL.
            ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => "invalid URL".to_owned(),
            error => error.to_string(),
        };
        let proxy = proxy.map_or(String::new(), |it| format!(", through the proxy in {it}"));
        Error(format!("cannot talk to {url}: {reason}{proxy}"))
    }
}

fn no_tls(url: &Url) -> Error {
    // Built with `--no-default-features`.
    Error(format!("{url} needs TLS, which this build does not have"))
}

fn not_followed(to: &dyn fmt::Display) -> String {
    format!("to {to}, which is not followed: give the URL of the target")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn url_is_printed_as_its_origin() {
        let secret = url("https://hooks.slack.com/services/T0/B0/s3cret?token=s3cret");
        assert_eq!(secret.to_string(), "https://hooks.slack.com");
        let request =
            Request::post_json(secret, b"s3cret".to_vec()).bearer(&Secret("s3cret".into()));
        assert_eq!(format!("{request:?}"), "POST https://hooks.slack.com");
        assert_eq!(url("http://[::1]:9093/x").to_string(), "http://[::1]:9093");
    }

    #[test]
    fn timeout_names_the_limit_in_force() {
        let client = Client::new(Policy {
            total: Duration::from_secs(1),
            ..Policy::default()
        });
        for at in [ureq::Timeout::Connect, ureq::Timeout::Global] {
            let error = client.error(&url("http://x"), ureq::Error::Timeout(at), None);
            assert_eq!(error.to_string(), "http://x did not answer within 1 s");
        }
    }

    #[test]
    fn invalid_url_is_rejected() {
        let invalid = [
            "",
            "ftp://x/",
            "x.com/y",
            "/etc/passwd",
            "https://",
            "https://a b",
        ];
        for text in invalid {
            assert_eq!(Url::parse(text), Err(InvalidUrl::NotHttp), "{text}");
        }
        assert_eq!(Url::parse("https://u:p@x/"), Err(InvalidUrl::Credentials));
    }

    #[test]
    fn path_is_joined_before_the_query() {
        let joined = |base: &str| url(base).join("/api/v2").unwrap().uri.to_string();
        assert_eq!(joined("http://am:9093"), "http://am:9093/api/v2");
        assert_eq!(joined("https://x/am/?a=b"), "https://x/am/api/v2?a=b");
    }

    #[test]
    fn private_addresses_are_those_of_private_networks() {
        let is_private = |host: &&str| url(&format!("http://{host}/metrics")).is_private();
        let own = [
            "10.1.2.3",
            "172.31.0.1:9100",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "[fd00::1]",
            "[::ffff:10.0.0.1]",
        ];
        assert!(own.iter().all(is_private));
        let others = [
            "8.8.8.8",
            "172.32.0.1",
            "169.254.169.254",
            "100.128.0.1",
            "[2001:db8::1]",
        ];
        assert!(!others.iter().any(is_private));
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is_loopback = |host: &&str| url(&format!("http://{host}/")).is_loopback();
        let own = ["localhost", "127.0.0.1:8080", "127.9.9.9", "[::1]"];
        let others = ["localhost.example.com", "10.0.0.1", "127.0.0.1.nip.io"];
        let found: Vec<&str> = own.into_iter().chain(others).filter(is_loopback).collect();
        assert_eq!(found, own);
    }

    #[test]
    fn redirect_is_resolved_as_browsers_do() {
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
    fn secret_is_never_printed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, "s3cret\n").unwrap();
        let secret = Secret::from_file(&path).unwrap();
        let shown = format!("{} {secret} {secret:?}", secret.expose());
        assert_eq!(shown, "s3cret *** ***");
        std::fs::write(&path, "\n").unwrap();
        let empty = Secret::from_file(&path).unwrap_err();
        assert!(empty.0.ends_with("is empty, expected a secret"));
        let unset = Secret::from_env("USAGECTL_NO_SUCH_VARIABLE").unwrap_err();
        assert!(unset.0.ends_with("USAGECTL_NO_SUCH_VARIABLE is not set"));
    }

    #[test]
    fn plain_http_is_limited_to_this_machine() {
        let client = Client::new(Policy::default());
        assert!(client.allows(&url("http://127.0.0.1/")).is_ok());
        let refused = client.allows(&url("http://example.com/?token=s3cret"));
        let message = refused.unwrap_err().to_string();
        let expected = "plain HTTP to http://example.com is refused: use https";
        assert_eq!(message, expected);
        let client = Client::new(Policy {
            insecure_http: true,
            ..Policy::default()
        });
        assert!(client.allows(&url("http://example.com/")).is_ok());
    }
}
