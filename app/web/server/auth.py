"""Let only those read photos who hold a token, where the settings name any.

A program sends it as `Authorization: Bearer` (RFC 6750); a person enters it once, and a cookie that
no script can read keeps it.
"""

import hashlib
import hmac

from flask import Blueprint, Flask, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.wrappers import Response as AnyResponse

from app.errors import RautError
from app.settings import FORM_BYTES, Settings
from app.web.i18n import strings
from app.web.i18n.locale import current_path, path_within_site
from app.web.server.addresses import name_network
from app.web.server.state import state

COOKIE = "raut_access"
FIELD = "token"

# What has a photo read, by a program or by a page's form.
PHOTO_POSTS = frozenset(
    {
        "api.analyze",
        "api.features",
        "pages.photo_without_script",
        "steps.show",
        "steps.download",
    }
)
READING = PHOTO_POSTS | {"stream.stream", "api.heads"}
# Pages that are of no use without.
PAGES = frozenset({"pages.photo", "realtime.page", "video.page", "steps.page", "teach.page"})
GUARDED = READING | {"api.models"}
URL_ENCODED = "application/x-www-form-urlencoded"

blueprint = Blueprint("access", __name__, url_prefix="/access")


def init_auth(app: Flask, settings: Settings) -> None:
    """Ask for a token, if the settings name any."""
    if settings.tokens:
        app.register_blueprint(blueprint)
        app.jinja_env.globals["signed_in"] = lambda: COOKIE in request.cookies
        app.before_request(_guard)


def most_body_bytes(endpoint: str | None, settings: Settings, mimetype: str = "") -> int:
    """Return how many bytes a request may have: those of a photo, or of a form without files."""
    photo = endpoint in PHOTO_POSTS and mimetype != URL_ENCODED
    return settings.most_body_bytes if photo else FORM_BYTES


def hash_token(token: str) -> str:
    """Return what the settings hold of a token: its SHA-256, in hexadecimal.

    A token is random and long, so that no slower hash is called for.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def authenticate() -> None:
    """Check the request's token. Raises `RautError` where a valid one is required and missing.

    Its name is then returned by `token_name`.
    """
    hashes = state().settings.tokens
    if not hashes:
        return
    token = _sent_token()
    if not token:
        raise _refusal("token_missing", "This server reads photos only for those who hold a token.")
    g.client = _identify(token)
    if g.client is None:
        raise _refusal("token_unknown", "This server doesn't know the token.")


def token_name() -> str | None:
    """Return the name of the token that came with the request, if one was called for."""
    return g.get("client")


@blueprint.get("")
def page() -> str:
    """Ask for a token."""
    return _page(request.args.get("next", ""))


@blueprint.post("")
def enter() -> ResponseReturnValue:
    """Keep a token in a cookie, and go on to the page that was wanted."""
    token, wanted = request.form.get(FIELD, "").strip(), request.form.get("next", "")
    if not _identify(token):
        return _page(wanted, problem=str(strings.ERRORS["token_unknown"])), 401
    response = redirect(path_within_site(wanted), 303)
    response.set_cookie(COOKIE, token, secure=request.is_secure, httponly=True, samesite="Strict")
    return response


@blueprint.post("/leave")
def leave() -> AnyResponse:
    """Forget the token that the cookie keeps."""
    response = redirect(url_for("access.page"), 303)
    response.delete_cookie(COOKIE, secure=request.is_secure, httponly=True, samesite="Strict")
    return response


def _page(wanted: str, problem: str = "") -> str:
    return render_template("access.html", wanted=wanted, problem=problem, field=FIELD)


def _guard() -> AnyResponse | None:
    if request.endpoint in GUARDED:
        authenticate()
    elif request.endpoint in PAGES:
        try:
            authenticate()
        except RautError:
            return redirect(url_for("access.page", next=current_path()), 303)
    return None


def _identify(token: str) -> str | None:
    """Return the token's name. Raises `RautError` for a client that has guessed too often."""
    shared, client = state(), name_network(request.remote_addr or "")
    # Before comparing: else the answer to a right guess would still be another one.
    if shared.rate_limiter:
        shared.rate_limiter.check_guesses(client)
    digest = hash_token(token)
    # All are compared, in constant time, so that how long it takes tells nothing.
    known = shared.settings.tokens.items()
    holders = [name for name, each in known if hmac.compare_digest(digest, each)]
    name = holders[0] if holders else None
    if shared.rate_limiter and name is None:
        shared.rate_limiter.count_guess(client)
    return name


def _sent_token() -> str:
    authorization = request.authorization
    if authorization and authorization.type == "bearer":
        return authorization.token or ""
    return request.cookies.get(COOKIE, "")


def _refusal(code: str, sentence: str) -> RautError:
    return RautError(
        code,
        f"{sentence} Send yours as `Authorization: Bearer TOKEN`; the server's operator has it.",
    )
