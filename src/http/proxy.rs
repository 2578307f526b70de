//! Proxies, chosen by the environment as in curl.
//!
//! * `https_proxy`, `HTTPS_PROXY` for https; `http_proxy` for http, in lower case only, since a web server sets
//!   `HTTP_PROXY` from a request header; `all_proxy`, `ALL_PROXY` for both. An empty variable counts as unset.
//! * `no_proxy`, `NO_PROXY`: hosts that are reached directly, separated by commas or spaces. `example.com` and
//!   `.example.com` match the host and all below it, `*` all; an address or network (`10.0.0.0/8`) matches a host that is
//!   an address; `example.com:8080` matches only that port, as in Go.
//! * https is tunnelled; http is sent to an HTTP proxy in absolute form, since many proxies refuse to tunnel to port 80.
//! * Requests to this machine bypass the proxy.

use std::net::IpAddr;

use base64::prelude::{BASE64_STANDARD, Engine};
use ureq::http::header::{HOST, PROXY_AUTHORIZATION};
use ureq::http::{HeaderValue, Request, Uri};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Proxy, ProxyProtocol};

use super::{Error, Url};

/// The proxy for a URL, and the variable that has it; `None` is a direct connection.
pub(super) fn for_url(url: &Url) -> Result<Option<(&'static str, Proxy)>, Error> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some((name, address)) = choose(url, variable) else {
        return Ok(None);
    };
    // The address may contain a password.
    let proxy = Proxy::new(&address).map_err(|_| {
        Error(format!(
            "cannot use the proxy in {name}: expected http://HOST:PORT, https://, socks4://, socks4a://, socks5:// or \
             socks5h://"
        ))
    })?;
    Ok(Some((name, proxy)))
}

/// The variable that has the proxy for a URL, and its value.
fn choose(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, String)> {
    let first = |names: &[&'static str]| {
        let mut found = names
            .iter()
            .filter_map(|name| Some((*name, variable(name)?)));
        found.next()
    };
    let names: &[&'static str] = match url.https {
        true => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        false => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    let direct = first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list);
    let is_direct = url.is_loopback() || direct.is_some_and(|list| is_listed(&list, url));
    first(names).filter(|_| !is_direct)
}

/// Whether a list of hosts contains that of a URL.
fn is_listed(list: &str, url: &Url) -> bool {
    let host = url.host.trim_matches(['[', ']']).trim_end_matches('.');
    let address: Option<IpAddr> = host.parse().ok();
    let mut entries = list.split([',', ' ']).filter(|entry| !entry.is_empty());
    entries.any(|entry| {
        let (name, port) = split_port(entry);
        if port.is_some_and(|port| port != url.port) {
            return false;
        }
        match address {
            _ if name == "*" => true,
            Some(address) => contains(name.trim_matches(['[', ']']), address),
            None => is_below(host, name),
        }
    })
}

/// The port of an entry `HOST:PORT`; an IPv6 address with one is in brackets.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

/// Whether a host is this domain or in it.
fn is_below(host: &str, domain: &str) -> bool {
    let domain = domain.strip_prefix('*').unwrap_or(domain);
    let domain = domain.trim_matches('.').to_ascii_lowercase();
    let before = host.strip_suffix(&domain);
    !domain.is_empty() && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether an entry is this address, or a network that contains it.
fn contains(entry: &str, address: IpAddr) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => (network, bits.parse().ok()),
        None => (entry, Some(if entry.contains(':') { 128 } else { 32 })),
    };
    let bits_of = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let (Ok(network), Some(bits)) = (network.parse::<IpAddr>(), bits) else {
        return false;
    };
    let ((network, length), (address, own_length)) = (bits_of(network), bits_of(address));
    let ignored = u128::BITS.saturating_sub(bits);
    let prefix = |address: u128| address.checked_shr(ignored);
    length == own_length && bits <= length && prefix(network) == prefix(address)
}

/// Writes the URL of a request before its path, as an HTTP proxy requires for http.
#[derive(Debug)]
pub(super) struct AbsoluteForm {
    /// Scheme and host.
    origin: String,
}

impl AbsoluteForm {
    /// Directs a request to an HTTP proxy; `None`, and an unchanged request, for a proxy of another protocol.
    pub(super) fn direct_to<B>(
        proxy: &Proxy,
        request: &mut Request<B>,
    ) -> Result<Option<AbsoluteForm>, ureq::Error> {
        let scheme = match proxy.protocol() {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Https => "https",
            _ => return Ok(None),
        };
        let target = request
            .uri()
            .authority()
            .map_or("", |authority| authority.as_str());
        let origin = format!("http://{target}");
        let host = HeaderValue::from_str(target).map_err(|_| ureq::Error::InvalidProxyUrl)?;
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let authority = format!("{}:{}", proxy.host(), proxy.port());
        *request.uri_mut() = Uri::builder()
            .scheme(scheme)
            .authority(authority)
            .path_and_query(path)
            .build()?;
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if proxy.username().is_some() || proxy.password().is_some() {
            let (user, password) = (proxy.username(), proxy.password());
            let pair = format!(
                "{}:{}",
                user.unwrap_or_default(),
                password.unwrap_or_default()
            );
            let login = format!("Basic {}", BASE64_STANDARD.encode(pair));
            let login = HeaderValue::from_str(&login).map_err(|_| ureq::Error::InvalidProxyUrl)?;
            headers.insert(PROXY_AUTHORIZATION, login);
        }
        Ok(Some(AbsoluteForm { origin }))
    }
}

impl<In: Transport> Connector<In> for AbsoluteForm {
    type Out = ToProxy<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<ToProxy<In>>, ureq::Error> {
        Ok(chained.map(|inner| ToProxy {
            inner,
            origin: Some(self.origin.clone()),
        }))
    }
}

/// The connection to an HTTP proxy for one request.
#[derive(Debug)]
pub(super) struct ToProxy<In> {
    inner: In,
    /// Until the request line is sent.
    origin: Option<String>,
}

impl<In: Transport> Transport for ToProxy<In> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let Some(origin) = self.origin.take() else {
            return self.inner.transmit_output(amount, timeout);
        };
        // The first output begins with the method, a space and the path.
        let output = self.inner.buffers().output();
        let longer = amount + origin.len();
        let path = output.iter().take(amount).position(|byte| *byte == b' ');
        let (Some(path), true) = (path.map(|at| at + 1), longer <= output.len()) else {
            return Err(ureq::Error::LargeResponseHeader(longer, output.len()));
        };
        output.copy_within(path..amount, path + origin.len());
        output[path..path + origin.len()].copy_from_slice(origin.as_bytes());
        self.inner.transmit_output(longer, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::testing::cases;

    /// The variable from which the proxy of `url` is taken.
    fn chosen(url: &str, environment: &[&str]) -> Option<&'static str> {
        let variable = |name: &str| environment.contains(&name).then(|| "proxy".to_owned());
        choose(&Url::parse(url).unwrap(), variable).map(|(name, _)| name)
    }

    #[test]
    fn proxy_is_chosen_by_scheme() {
        let all = ["HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"];
        assert_eq!(chosen("https://x.com/", &all), Some("https_proxy"));
        assert_eq!(chosen("https://x.com/", &all[2..]), Some("HTTPS_PROXY"));
        assert_eq!(chosen("http://x.com/", &all), Some("ALL_PROXY"));
        assert_eq!(chosen("http://x.com/", &all[..3]), None);
        let lower = ["http_proxy", "ALL_PROXY"];
        assert_eq!(chosen("http://x.com/", &lower), Some("http_proxy"));
        assert_eq!(chosen("http://127.0.0.1/", &lower), None);
    }

    #[test]
    fn hosts_in_no_proxy_are_reached_directly() {
        let is_direct = |url: &str, list: &str| is_listed(list, &Url::parse(url).unwrap());
        let table = "
            desk.example.com | yes | example.com; .example.com; *.example.com; EXAMPLE.com.; com; *
            desk.example.com | yes | a.org, desk.example.com; a.org example.com:443
            desk.example.com | no | ample.com; example.com:8443; desk.example.com.org; *sk.example.com
            10.1.2.3 | yes | 10.1.0.0/16; 10.1.2.3; 10.1.2.3:443; 0.0.0.0/0; x,10.1.2.3/32
            10.1.2.3 | no | 10.2.0.0/16; 1.2.3; 10.1.2.30; 10.1.2.3:80; ::/0; 10.0.0.0/x; 10.1.2.3/33
            [fd00::1] | yes | fd00::/8; fd00::1; [fd00::1]; [fd00::1]:443
            [fd00::1] | no | [fd00::1]:80; fd01::/16";
        for [host, expected, lists] in cases(table) {
            for list in lists.split("; ") {
                let found = is_direct(&format!("https://{host}/"), list);
                assert_eq!(found, expected == "yes", "{host}: {list}");
            }
        }
        assert!(!is_direct("https://desk.example.com/", ""));
    }
}
