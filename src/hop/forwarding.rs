//! Headers in which a proxy reports where a request came from and whose it is, and which servers believe.
//!
//! A site could otherwise choose the client address that a SuperLink logs: uvicorn trusts `x-forwarded-for` from 127.0.0.1. No
//! client of Flower sends any of these.

use http::{HeaderMap, HeaderName};

/// Names that are removed, without their `x-`. One that ends with `*` means every name that begins so.
const WITH_X: &[&str] = &[
    // The address, scheme and host: uvicorn, Django, Rack, Spring, Tomcat, nginx, Traefik, HAProxy.
    "forwarded*",
    "real-ip",
    "remote-*",
    "client-ip",
    "clientip",
    "true-client-ip",
    "cluster-client-ip",
    "originating-ip",
    "proxy*",
    "scheme",
    "url-scheme",
    "host",
    "ssl*",
    // The path, the method or a file to send: nginx, IIS, Symfony, Rack.
    "original-*",
    "rewrite-*",
    "script-name",
    "http-*",
    "method-override",
    "accel-*",
    "sendfile*",
    // The certificate or the account that a proxy has checked.
    "client-cert*",
    "client-verify",
    "client-dn",
    "auth-request-*",
    "authenticated-*",
    "webauth-*",
    // Envoy, Amazon, Google and Azure.
    "envoy-*",
    "amzn-*",
    "goog-*",
    "appengine-*",
    "azure-*",
    "arr-*",
    "ms-client-principal*",
];
/// The same without `x-`.
const WITHOUT_X: &[&str] = &[
    "forwarded*",
    "via",
    "client-ip",
    "true-client-ip",
    "front-end-https",
    // CGI reads `proxy` as the proxy to use.
    "proxy",
    "proxy-*",
    "wl-proxy-*",
    "remote-*",
    "script-name",
    "path-info",
    "client-cert*",
    "ssl-*",
    // Akamai's, Cloudflare's, Fastly's, Fly's, DigitalOcean's and Tailscale's.
    "cdn-*",
    "cf-*",
    "fastly-*",
    "fly-*",
    "do-connecting-ip",
    "tailscale-*",
];

/// Removes them from a request.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers.keys().filter(|name| is_forwarding(name.as_str())).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

fn is_forwarding(name: &str) -> bool {
    match name.as_bytes() {
        [b'x', mark, ..] if !mark.is_ascii_alphanumeric() => WITH_X.iter().any(|pattern| matches(&name[2..], pattern)),
        _ => WITHOUT_X.iter().any(|pattern| matches(name, pattern)),
    }
}

/// Compares as CGI and WSGI do, where every mark between letters is the same: `x_forwarded_for` is `x-forwarded-for`.
fn matches(name: &str, pattern: &str) -> bool {
    let (pattern, is_prefix) = match pattern.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (pattern, false),
    };
    let fits = |(own, wanted): (u8, u8)| own == wanted || (wanted == b'-' && !own.is_ascii_alphanumeric());
    name.bytes().zip(pattern.bytes()).all(fits)
        && (name.len() == pattern.len() || (is_prefix && name.len() > pattern.len()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_a_proxy_reports_is_removed_in_every_spelling() {
        for name in [
            "Forwarded",
            "Via",
            "X-Forwarded-For",
            "x_forwarded_for",
            "X.Forwarded.For",
            "X-Forwarded",
            "X-Forwarded-Client-Cert",
            "X-Forwarded-a-name-of-tomorrow",
            "X-Real-IP",
            "X-Client-IP",
            "X-Cluster-Client-IP",
            "True-Client-IP",
            "CF-Connecting-IP",
            "Fastly-Client-IP",
            "X-Original-URL",
            "X-Original-Forwarded-For",
            "X-Rewrite-URL",
            "X-Envoy-External-Address",
            "X-HTTP-Method-Override",
            "X-HTTP-Method",
            "X-Method-Override",
            "Proxy",
            "Proxy-Authorization",
            "Remote-User",
            "Remote_User",
            "X-Remote-User",
            "SSL-Client-Verify",
            "X-SSL-Client-S-DN",
            "Client-Cert",
            "X-Auth-Request-Email",
        ] {
            assert!(is_forwarding(&name.to_lowercase()), "{name}");
        }
    }

    #[test]
    fn what_flower_grpc_and_plugins_send_is_kept() {
        let kept = [
            "accept",
            "accept-encoding",
            "authorization",
            "baggage",
            "content-encoding",
            "content-length",
            "content-type",
            "cookie",
            "flwr-component-name",
            "flwr-oidc-access-token",
            "flwr-package-name",
            "flwr-public-key-bin",
            "flwr-signature",
            "flwr-task-token",
            "flwr-timestamp",
            "grpc-accept-encoding",
            "grpc-previous-rpc-attempts",
            "grpc-timeout",
            "te",
            "traceparent",
            "tracestate",
            "user-agent",
            "viable",
            "x-api-key",
            "x-client-id",
            "x-flower-iroh-funnel",
            "x-flwr-client",
            "x-request-id",
            "xforwarded",
        ];
        let mut headers: HeaderMap =
            kept.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.10"));
        strip(&mut headers);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, kept);
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_name_is_decided_and_one_of_the_family_is_removed(name in "[!#$%&'*+.^_`|~0-9a-z-]{1,30}", mark in "[-_.~]") {
            let _ = is_forwarding(&name);
            let member = format!("x{mark}forwarded{mark}{name}");
            prop_assert!(is_forwarding(&member), "{}", member);
        }
    }
}
