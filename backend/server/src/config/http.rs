//! Where the server listens and what it is called from outside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::source::{Key, Shown, Values};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "http.listen",
        env: "ENSEMBLE_LISTEN",
        default: "127.0.0.1:8080",
        help: "Address and port to listen on; port 0 takes any free one.",
        shown: Shown::Plain,
    },
    Key {
        name: "http.public_url",
        env: "ENSEMBLE_PUBLIC_URL",
        default: "",
        help: "What browsers call this server, such as https://code.example.org; needed behind a proxy or under a name.",
        shown: Shown::Plain,
    },
    Key {
        name: "http.allowed_origins",
        env: "ENSEMBLE_ALLOWED_ORIGINS",
        default: "",
        help: "Further origins whose pages may use this server, with commas between.",
        shown: Shown::Plain,
    },
];

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Where the server listens and what it is called from outside.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// Scheme and host browsers use, without a trailing slash.
    pub public_url: Option<String>,
    /// Further origins whose pages may use this server.
    pub allowed_origins: Vec<String>,
}

impl HttpConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let listen = values.parse("http.listen", read_listen).unwrap_or(DEFAULT_LISTEN);
        let public_url = values.parse("http.public_url", read_origin);
        let allowed_origins = values
            .parse("http.allowed_origins", |text| {
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(read_origin).collect()
            })
            .unwrap_or_default();
        if public_url.is_none() && !listen.ip().is_loopback() && !values.is_set("http.public_url") {
            values.warning(
                "`ENSEMBLE_PUBLIC_URL` is not set: pages are served only to browsers that use an IP address of this machine",
            );
        }
        if let Some(url) = &public_url
            && url.starts_with("http://")
            && !is_loopback_host(host_of(url))
        {
            values.warning(format!(
                "`{url}` is not https: sign-in cookies and everything typed can be read on the way"
            ));
        }
        Self { listen, public_url, allowed_origins }
    }
}

fn read_listen(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    address.as_deref().unwrap_or(text).parse().map_err(|_| {
        "it has to be an address and a port, such as `127.0.0.1:8080` or `0.0.0.0:8080`".to_owned()
    })
}

/// Reads scheme and host; a path other than `/` would not be served.
fn read_origin(text: &str) -> Result<String, String> {
    let wrong =
        || "it has to be `http://` or `https://`, a host and perhaps a port, and nothing after".to_owned();
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong());
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    let authority = authority.as_str().to_ascii_lowercase();
    let usual = if scheme == "https" { ":443" } else { ":80" };
    Ok(format!("{scheme}://{}", authority.strip_suffix(usual).unwrap_or(&authority)))
}

/// The host of an origin, without scheme and port.
pub(crate) fn host_of(origin: &str) -> &str {
    let authority = origin.split_once("://").map_or(origin, |(_, rest)| rest);
    host_of_authority(authority)
}

/// The host of an authority, without its port; an IPv6 address keeps its brackets.
pub(crate) fn host_of_authority(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => &authority[..end + 2],
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Whether browsers take this host to be the machine they run on.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_in_one_way() {
        for (text, expected) in [
            ("https://Code.Example.org", "https://code.example.org"),
            ("https://code.example.org:443/", "https://code.example.org"),
            ("http://localhost:8080/", "http://localhost:8080"),
        ] {
            assert_eq!(read_origin(text).as_deref(), Ok(expected));
        }
        for text in ["code.example.org", "ftp://x", "https://x/y", "https://a:b@x", "https://x?y"] {
            assert!(read_origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_told_from_ports() {
        assert_eq!(host_of("http://localhost:8080"), "localhost");
        assert_eq!(host_of("http://[::1]:8080"), "[::1]");
        assert_eq!(host_of("https://example.org"), "example.org");
        assert!(is_loopback_host("[::1]") && is_loopback_host("127.0.0.1") && is_loopback_host("localhost"));
        assert!(!is_loopback_host("localhost.example.org"));
    }
}
