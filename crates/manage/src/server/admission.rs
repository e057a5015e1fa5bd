//! What a request must show before anything is done for it: how long it is, whom it means, where it comes from, and on TCP
//! the token, in this order.
//!
//! A browser on this machine can be made to send requests by any page that it shows, also under a name that the page's owner
//! lets point here (DNS rebinding). `Host` and `Origin` tell: pages cannot choose them.

use super::answer::MOST_BYTES;
use super::problem::Problem;
use super::token::Token;
use hyper::header::{
    AUTHORIZATION, AsHeaderName, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN, TRANSFER_ENCODING,
};
use hyper::http::uri::Authority;
use hyper::{Request, StatusCode};
use std::net::IpAddr;

/// One binding's rules.
#[derive(Default)]
pub struct Admission {
    tcp: Option<TcpAdmission>,
}

struct TcpAdmission {
    token: Token,
    /// In small letters.
    names: Vec<String>,
    scheme: &'static str,
}

impl Admission {
    /// `names` beside localhost, this machine's name, and any address.
    pub fn tcp(token: Token, names: &[String], tls: bool) -> Self {
        let names = names.iter().cloned().chain([host_name(), "localhost".into()]);
        let names = names.map(|name| name.trim_end_matches('.').to_lowercase()).collect();
        Self { tcp: Some(TcpAdmission { token, names, scheme: if tls { "https" } else { "http" } }) }
    }

    pub fn admit<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let headers = request.headers();
        has_length(headers)?;
        let host = host(request)?;
        if let Some(tcp) = &self.tcp {
            tcp.is_meant(&host)?;
        }
        same_origin(headers, &host, self.tcp.as_ref().map(|tcp| tcp.scheme))?;
        self.tcp.as_ref().map_or(Ok(()), |tcp| tcp.authorize(headers))
    }
}

/// This machine's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub fn too_large() -> Problem {
    let why = format!("The body is larger than {MOST_BYTES} bytes, which no request of ours needs.");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "BodyTooLarge", why)
}

/// A body in chunks could have a Content-Length, too, and who reads one and who reads the other differ in where the next
/// request begins. A server may ask for the one way (RFC 9112, 6.3).
fn has_length(headers: &HeaderMap) -> Result<(), Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MOST_BYTES as u64) {
        return Err(too_large());
    }
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(());
    }
    let why = "Transfer-Encoding is not taken here; send the body as a whole, with its Content-Length.";
    Err(Problem::new(StatusCode::LENGTH_REQUIRED, "LengthRequired", why))
}

/// The one value of a header. The error: there are more.
fn only(headers: &HeaderMap, name: impl AsHeaderName) -> Result<Option<&HeaderValue>, ()> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (first, None) => Ok(first),
        _ => Err(()),
    }
}

/// Whom a request means. HTTP/1.0 may leave it out (RFC 9112, 3.2), but nobody needs that here.
fn host<B>(request: &Request<B>) -> Result<String, Problem> {
    let wrong = || {
        let why = "A request must have one Host header, with a name or an address.";
        Problem::new(StatusCode::BAD_REQUEST, "MalformedRequest", why)
    };
    let header = only(request.headers(), HOST).map_err(|()| wrong())?;
    // A whole URL in the request line counts more than the header.
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.as_str().to_owned());
    }
    match header {
        Some(value) => value.to_str().map(str::to_owned).map_err(|_| wrong()),
        None => Err(wrong()),
    }
}

/// What a page of another origin makes a browser send has its origin with it, or the browser's own word.
fn same_origin(headers: &HeaderMap, host: &str, scheme: Option<&str>) -> Result<(), Problem> {
    let own = |origin: &str| match origin.split_once("://") {
        Some((given, place)) => {
            scheme.is_none_or(|scheme| given == scheme) && place.eq_ignore_ascii_case(host)
        }
        None => false,
    };
    let origin_is_own = headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(own));
    let mut sites = headers.get_all("sec-fetch-site").iter();
    let site_is_own = sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
    if origin_is_own && site_is_own {
        return Ok(());
    }
    let why = "The request comes from a page of another origin, which may not use this server.";
    Err(Problem::new(StatusCode::FORBIDDEN, "ForeignOrigin", why))
}

impl TcpAdmission {
    fn is_meant(&self, host: &str) -> Result<(), Problem> {
        // A name before an @ is no part of any Host header (RFC 9110, 7.2).
        let named = !host.contains('@')
            && host.parse::<Authority>().is_ok_and(|authority| {
                let name = authority.host();
                let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
                // An address as a name is nobody's to point elsewhere.
                let known = bare.trim_end_matches('.').to_lowercase();
                bare.parse::<IpAddr>().is_ok() || self.names.contains(&known)
            });
        if named {
            return Ok(());
        }
        let shown: String = host.chars().take(64).flat_map(char::escape_debug).collect();
        let why = format!(
            "This server is not '{shown}'; use its address, or start it with --name for a name of its own."
        );
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "UnknownHost", why))
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if headers.get(AUTHORIZATION).is_some_and(|given| self.token.is_in(given.as_bytes())) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "Unauthorized",
            "Send the header Authorization: Bearer TOKEN with the token of the server's --token-file.",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "Bearer 0123456789abcdef";

    fn admission(tls: bool) -> Admission {
        let scratch = crate::scratch::Scratch::new();
        let file = scratch.path().join("token");
        std::fs::write(&file, &TOKEN["Bearer ".len()..]).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Admission::tcp(Token::from_file(&file).unwrap(), &["ireko.example".into()], tls)
    }

    /// What the admission says to a request with these headers: 200 is come in.
    fn said(admission: &Admission, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = Request::builder().uri("/vms");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        admission.admit(&request.body(()).unwrap()).map_or_else(|problem| problem.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_names_of_this_server_and_addresses_are_meant() {
        let admission = admission(false);
        let own = host_name();
        for host in
            ["localhost", "LocalHost:8006", "localhost.", "ireko.example", "10.0.0.1:80", "[::1]:8006", &own]
        {
            assert_eq!(said(&admission, &[("host", host), ("authorization", TOKEN)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8006",
            "10.0.0.1.evil.example",
            "",
            "x@localhost@y",
            "evil@127.0.0.1",
        ] {
            assert_eq!(said(&admission, &[("host", host), ("authorization", TOKEN)]), 421, "{host}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        for admission in [Admission::default(), admission(false)] {
            assert_eq!(said(&admission, &[("authorization", TOKEN)]), 400);
            assert_eq!(said(&admission, &[("host", "localhost"), ("host", "localhost")]), 400);
        }
    }

    #[test]
    fn a_whole_url_counts_more_than_the_header() {
        let request = Request::builder().uri("http://evil.example/vms").header("host", "localhost");
        let problem = admission(false).admit(&request.body(()).unwrap()).unwrap_err();
        assert_eq!(problem.status.as_u16(), 421);
    }

    #[test]
    fn pages_of_other_origins_are_refused_at_every_binding() {
        for admission in [Admission::default(), admission(false)] {
            for foreign in ["http://evil.example", "http://localhost:1", "null", "", "localhost:8006"] {
                let headers = [("host", "localhost:8006"), ("origin", foreign), ("authorization", TOKEN)];
                assert_eq!(said(&admission, &headers), 403, "{foreign}");
            }
            for site in ["cross-site", "same-site"] {
                let headers = [("host", "localhost"), ("sec-fetch-site", site), ("authorization", TOKEN)];
                assert_eq!(said(&admission, &headers), 403, "{site}");
            }
            let own =
                [("host", "localhost:8006"), ("origin", "http://localhost:8006"), ("authorization", TOKEN)];
            assert_eq!(said(&admission, &own), 200);
        }
    }

    #[test]
    fn the_scheme_is_part_of_the_origin() {
        let headers = [("host", "localhost"), ("origin", "http://localhost"), ("authorization", TOKEN)];
        assert_eq!((said(&admission(true), &headers), said(&admission(false), &headers)), (403, 200));
    }

    #[test]
    fn host_and_origin_are_looked_at_before_the_token() {
        let admission = admission(false);
        assert_eq!(said(&admission, &[("host", "evil.example")]), 421);
        assert_eq!(said(&admission, &[("host", "localhost"), ("origin", "http://evil.example")]), 403);
        assert_eq!(said(&admission, &[("host", "localhost")]), 401);
    }

    #[test]
    fn a_body_that_is_announced_as_too_large_is_not_waited_for() {
        for admission in [Admission::default(), admission(false)] {
            for (length, answer) in [("1073741824", 413), ("18446744073709551615", 413), ("1048576", 200)] {
                let headers = [("host", "localhost"), ("content-length", length), ("authorization", TOKEN)];
                assert_eq!(said(&admission, &headers), answer, "{length}");
            }
        }
    }

    #[test]
    fn http_1_0_has_a_host_here_too() {
        let request = Request::builder().version(hyper::Version::HTTP_10).uri("/vms").body(()).unwrap();
        assert_eq!(Admission::default().admit(&request).unwrap_err().status.as_u16(), 400);
    }

    #[test]
    fn a_body_in_chunks_is_asked_for_with_its_length() {
        for admission in [Admission::default(), admission(false)] {
            let headers = [("host", "localhost"), ("transfer-encoding", "chunked"), ("content-length", "3")];
            assert_eq!(said(&admission, &headers), 411);
        }
    }
}
