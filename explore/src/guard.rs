//! Who may ask: only the page itself, in the browser in which it was opened.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::problem::Problem;

/// Scripts, styles and requests only from the page's own address, and nothing inline. Texts of events
/// can't become markup: the page has no policy for trusted types, so nothing can assign one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The headers of every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What a browser says about where a request comes from.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The secrets of a served page.
#[derive(Debug, Clone)]
pub(crate) struct Guard(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    port: u16,
    /// The token in the address, until it was used.
    token: Mutex<Option<String>>,
    /// What the cookie holds.
    session: String,
}

/// What the page sends to get its cookie.
#[derive(Debug, Deserialize)]
pub(crate) struct Opening {
    token: String,
}

impl Guard {
    /// New secrets for a page on this port.
    pub(crate) fn new(port: u16) -> Result<Self, getrandom::Error> {
        let (token, session) = (random()?, random()?);
        Ok(Self(Arc::new(Inner { port, token: Mutex::new(Some(token)), session })))
    }

    /// The token that opens the page; `None` once it was used.
    pub(crate) fn token(&self) -> Option<String> {
        self.0.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Cookies don't distinguish ports, so several pages on one machine need several names.
    fn cookie_name(&self) -> String {
        format!("eventdb-explore-{}", self.0.port)
    }

    /// Whether the token is the right one. It is used up then.
    fn takes(&self, token: &str) -> bool {
        let mut unused = self.0.token.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = unused.as_deref().is_some_and(|right| is_same(right, token));
        if fits {
            *unused = None;
        }
        fits
    }

    /// Whether the request names this page as its host: a name that somebody else has pointed to
    /// 127.0.0.1 isn't accepted.
    fn names_us(&self, headers: &HeaderMap) -> bool {
        let port = self.0.port;
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
            (Some(host), None) => {
                host == format!("127.0.0.1:{port}") || host == format!("localhost:{port}")
            }
            _ => false,
        }
    }

    /// Whether a request that says where it comes from comes from this page.
    fn comes_from_us(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let mut origins = headers.get_all(ORIGIN).iter();
        let mut sites = headers.get_all(SEC_FETCH_SITE).iter();
        let own = format!("http://{host}");
        origins.all(|origin| origin.as_bytes() == own.as_bytes())
            && sites.all(|site| site == "same-origin")
    }

    fn has_session(&self, headers: &HeaderMap) -> bool {
        let name = self.cookie_name();
        let texts = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut cookies = texts.flat_map(|cookies| cookies.split(';'));
        cookies.any(|cookie| {
            let pair = cookie.trim().split_once('=');
            pair.is_some_and(|(key, value)| key == name && is_same(&self.0.session, value))
        })
    }
}

/// Checks the host of every request, and adds the headers that every answer has.
pub(crate) async fn check_host(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match guard.names_us(request.headers()) {
        true => next.run(request).await,
        false => Problem::forbidden("this page is only at 127.0.0.1 and localhost").into_response(),
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Checks where a request for data comes from, and its cookie.
pub(crate) async fn check_session(
    State(guard): State<Guard>,
    request: Request,
    next: Next,
) -> Response {
    if !guard.comes_from_us(request.headers()) {
        return Problem::forbidden("another page asks").into_response();
    }
    match guard.has_session(request.headers()) {
        true => next.run(request).await,
        false => Problem::unauthorized("the page wasn't opened with its token").into_response(),
    }
}

/// Exchanges the token of the address for a cookie.
pub(crate) async fn open(
    State(guard): State<Guard>,
    headers: HeaderMap,
    Json(opening): Json<Opening>,
) -> Response {
    if !guard.comes_from_us(&headers) {
        return Problem::forbidden("another page asks").into_response();
    }
    if !guard.takes(&opening.token) {
        return Problem::unauthorized("the token isn't the right one, or was used").into_response();
    }
    let (name, session) = (guard.cookie_name(), &guard.0.session);
    let cookie = format!("{name}={session}; Path=/api; HttpOnly; SameSite=Strict");
    (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response()
}

/// 256 random bits as text.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

/// The time that it takes says nothing about the right text.
fn is_same(right: &str, given: &str) -> bool {
    right.as_bytes().ct_eq(given.as_bytes()).into()
}
