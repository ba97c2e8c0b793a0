//! What this server is called from outside: its address, its own origins, its links and its cookie.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

use crate::config::HttpConfig;
use crate::config::{host_of, host_of_authority, is_loopback_host};

/// How a request's `Origin` header relates to this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A page of ours.
    Ours,
    /// A program rather than a page: there is no such header.
    None,
    /// A page of another site.
    Foreign,
}

/// What this server is called from outside.
#[derive(Debug, Clone)]
pub struct Site {
    url: String,
    /// The operator said what the server is called; otherwise links use the address it was reached at.
    named: bool,
    origins: Vec<String>,
    secure: bool,
}

impl Site {
    /// The site of a server that listens here.
    pub fn new(config: &HttpConfig, address: SocketAddr) -> Self {
        let port = address.port();
        let local = format!("http://localhost:{port}");
        let mut origins = config.allowed_origins.clone();
        if let Some(url) = &config.public_url {
            origins.push(url.clone());
        }
        // Whoever reaches a loopback address is on this machine, whatever they call it.
        if address.ip().is_loopback() {
            origins.extend([
                local.clone(),
                format!("http://127.0.0.1:{port}"),
                format!("http://[::1]:{port}"),
            ]);
        }
        let url = config.public_url.clone().unwrap_or_else(|| match address.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => local,
            _ => format!("http://{address}"),
        });
        let named = config.public_url.is_some();
        // Without a name, a server that others reach is reached in the clear.
        let secure = if named {
            url.starts_with("https://") || is_loopback_host(host_of(&url))
        } else {
            address.ip().is_loopback()
        };
        Self { url, named, origins, secure }
    }

    /// Scheme, host and port, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether pages are served over TLS, or to this machine only.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether browsers should be told to use TLS from now on.
    pub fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// The address to put into links for whoever sent these headers.
    pub fn url_for(&self, headers: &HeaderMap) -> String {
        if !self.named
            && let Some(origin) = own_origin(headers)
        {
            return origin;
        }
        self.url.clone()
    }

    /// A link that joins with this secret. The secret stands after `#`, which browsers never send.
    pub fn join_link(&self, headers: &HeaderMap, secret: &str) -> String {
        format!("{}/join#{secret}", self.url_for(headers))
    }

    /// Whether a request comes from a page of ours.
    pub fn origin(&self, headers: &HeaderMap) -> Origin {
        let Some(value) = headers.get(ORIGIN) else { return Origin::None };
        let Ok(origin) = value.to_str() else { return Origin::Foreign };
        let is_ours = self.origins.iter().any(|ours| ours == origin)
            || (!self.named && own_origin(headers).is_some_and(|own| own == origin));
        if is_ours { Origin::Ours } else { Origin::Foreign }
    }

    /// The name of the session cookie. The prefix makes browsers refuse it from anybody but this very host.
    pub const fn cookie_name(&self) -> &'static str {
        if self.secure { "__Host-ensemble" } else { "ensemble" }
    }

    /// The header that gives a browser its session.
    pub fn set_cookie(&self, secret: &str, seconds: i64) -> String {
        let name = self.cookie_name();
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
    }
}

/// The origin a request was sent to, where its host is an IP address.
///
/// A name is not trusted here: whoever owns a name can point it at this server and be its own origin.
fn own_origin(headers: &HeaderMap) -> Option<String> {
    let authority = headers.get(HOST)?.to_str().ok()?;
    let host = host_of_authority(authority);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let literal = bare.parse::<IpAddr>().is_ok() || host == "localhost";
    literal.then(|| format!("http://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(public_url: Option<&str>) -> HttpConfig {
        HttpConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            public_url: public_url.map(Into::into),
            allowed_origins: vec!["http://localhost:5173".into()],
        }
    }

    fn headers(host: &str, origin: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if !origin.is_empty() {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    /// [A5] Only pages of this server are taken for its own.
    #[test]
    fn only_pages_of_this_server_are_ours() {
        let local = Site::new(&config(None), "127.0.0.1:8080".parse().unwrap());
        let wide = Site::new(&config(None), "0.0.0.0:8080".parse().unwrap());
        let named = Site::new(&config(Some("https://code.example.org")), "0.0.0.0:8080".parse().unwrap());
        for (site, host, origin, expected) in [
            (&local, "localhost:8080", "http://localhost:8080", Origin::Ours),
            (&local, "127.0.0.1:8080", "http://127.0.0.1:8080", Origin::Ours),
            (&local, "localhost:8080", "http://localhost:5173", Origin::Ours),
            (&local, "localhost:8080", "http://localhost:3000", Origin::Foreign),
            (&local, "evil.example:8080", "http://evil.example:8080", Origin::Foreign),
            (&local, "localhost:8080", "null", Origin::Foreign),
            (&local, "localhost:8080", "", Origin::None),
            (&wide, "192.168.1.5:8080", "http://192.168.1.5:8080", Origin::Ours),
            (&wide, "192.168.1.5:8080", "http://192.168.1.6:8080", Origin::Foreign),
            (&wide, "evil.example:8080", "http://evil.example:8080", Origin::Foreign),
            (&named, "code.example.org", "https://code.example.org", Origin::Ours),
            (&named, "code.example.org", "http://code.example.org", Origin::Foreign),
            (&named, "10.0.0.1:8080", "http://10.0.0.1:8080", Origin::Foreign),
        ] {
            assert_eq!(site.origin(&headers(host, origin)), expected, "{host} {origin}");
        }
    }

    #[test]
    fn the_cookie_is_as_strict_as_the_address_allows() {
        let local = Site::new(&config(None), "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            local.set_cookie("s", 60),
            "__Host-ensemble=s; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure"
        );
        let wide = Site::new(&config(None), "0.0.0.0:8080".parse().unwrap());
        assert_eq!(wide.set_cookie("s", 60), "ensemble=s; Path=/; HttpOnly; SameSite=Lax; Max-Age=60");
    }

    #[test]
    fn links_use_the_address_a_visitor_can_reach() {
        let wide = Site::new(&config(None), "0.0.0.0:8080".parse().unwrap());
        assert_eq!(wide.url_for(&headers("192.168.1.5:8080", "")), "http://192.168.1.5:8080");
        assert_eq!(wide.url_for(&headers("evil.example", "")), "http://localhost:8080");
        let named = Site::new(&config(Some("https://code.example.org")), "0.0.0.0:8080".parse().unwrap());
        assert_eq!(named.join_link(&headers("192.168.1.5:8080", ""), "s"), "https://code.example.org/join#s");
    }
}
