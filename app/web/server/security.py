"""Keep a page to itself: the headers of every answer, and no requests of other sites' pages."""

from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.middleware.proxy_fix import ProxyFix

from app.errors import RautError
from app.settings import FORM_BYTES, Settings
from app.web.server.addresses import is_rebindable, parse_address
from app.web.server.auth import most_body_bytes
from app.web.server.bridge import HANDSHAKE
from app.web.server.state import state

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "font-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # With no referrer at all browsers would name no origin either when they post a form.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# Only once TLS was seen to work: it binds browsers for a year (RFC 6797).
STRICT_TRANSPORT = "max-age=31536000"


def init_security(app: Flask, settings: Settings) -> None:
    """Believe the proxies that the settings name, refuse foreign requests, and send the headers."""
    app.debug = False  # Flask would take it from FLASK_DEBUG.
    if settings.trusted_proxies:
        # The host comes as the Host header, which the proxy passes on.
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=settings.trusted_proxies, x_proto=settings.trusted_proxies
        )
    app.before_request(_check_host)
    app.before_request(_bound_body)
    app.before_request(_refuse_foreign_requests)
    app.after_request(_add_headers)


def _check_host() -> None:
    """Raise `RautError` where the request looks like DNS rebinding.

    A page of evil.example may read what its own host answers, and its DNS may name 127.0.0.1. Flask
    checks the host where the settings name those that are trusted; behind a proxy only the proxy
    could be addressed so.
    """
    settings = state().settings
    if settings.trusted_hosts or settings.trusted_proxies:
        return
    client = parse_address(request.remote_addr or "")
    if client and client.is_loopback and is_rebindable(request.host):
        raise RautError(
            "host_not_trusted",
            "On this machine only localhost and IP addresses are answered. Name the host in "
            "RAUT_TRUSTED_HOSTS to have it answered, too.",
        )


def _bound_body() -> None:
    """Read no more than a form's fields where no photo is expected. Raises `RautError`."""
    settings = state().settings
    # For a body that doesn't tell its length, too.
    request.max_content_length = most_body_bytes(request.endpoint, settings, request.mimetype)
    if (request.content_length or 0) > most_body_bytes(request.endpoint, settings) == FORM_BYTES:
        limit_kb = FORM_BYTES // 1000
        raise RautError(
            "request_too_large",
            f"The request holds more than {limit_kb} kB, and no photo is read at this address.",
            limit_kb=limit_kb,
        )


def _is_foreign(origin: str) -> bool:
    try:
        return urlsplit(origin).netloc != request.host
    except ValueError:  # What is no address is nobody's here.
        return True


def _refuse_foreign_requests() -> None:
    """Raise `RautError` where another site's page sent the request; programs name no origin.

    Browsers let any page post and open sockets to any host, and send that host's cookies along.
    """
    acts = request.method == "POST" or HANDSHAKE in request.environ
    if acts and request.origin is not None and _is_foreign(request.origin):
        raise RautError(
            "foreign_origin",
            "The request came from another site's page. Send it from Raut's own pages, or from "
            "a program, which names no origin.",
        )


def _add_headers(response: Response) -> Response:
    """Add the headers; what was read in somebody's photo is never cached.

    A page that says otherwise holds nothing of a photo.
    """
    response.headers.update(HEADERS)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT
    if request.endpoint not in ("static", "bootstrap.static"):
        response.headers.setdefault("Cache-Control", "no-store")
    return response
