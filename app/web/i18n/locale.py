"""The language of a page: the reader's own choice, or else the browser's."""

import re

from flask import Blueprint, Flask, Response, redirect, request, url_for
from flask_babel import Babel
from werkzeug.wrappers import Response as AnyResponse

from app.paths import DATA
from app.web.i18n.formats import FILTERS

LANGUAGES = {"en": "English", "id": "Bahasa Indonesia"}
DEFAULT_LANGUAGE = "en"
COOKIE = "raut_language"
COOKIE_SECONDS = 365 * 24 * 60 * 60
TRANSLATIONS = DATA / "translations"

# A second slash or a backslash would name another host; browsers drop control characters.
PATH_WITHIN_SITE = re.compile(r"/(?![/\\])[^\\\x00-\x1f\x7f]*")

blueprint = Blueprint("languages", __name__)


def init_locale(app: Flask) -> None:
    """Set up translations, the language switch and the headers that name the language."""
    Babel(
        app,
        default_locale=DEFAULT_LANGUAGE,
        default_translation_directories=str(TRANSLATIONS),
        locale_selector=select_language,
    )
    app.jinja_env.globals.update(
        languages=LANGUAGES, current_language=select_language, current_path=current_path
    )
    app.jinja_env.filters.update(FILTERS)
    app.register_blueprint(blueprint)
    app.after_request(name_language)


def select_language() -> str:
    """Return the language kept in the cookie, or else the best one that the browser accepts."""
    chosen = request.cookies.get(COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return request.accept_languages.best_match(list(LANGUAGES)) or DEFAULT_LANGUAGE


@blueprint.post("/language")
def choose() -> AnyResponse:
    """Keep the chosen language in a cookie and return to the page the reader came from."""
    response = redirect(path_within_site(request.form.get("next", "")), code=303)
    language = request.form.get("language", "")
    if language in LANGUAGES:
        keep_in_cookie(response, COOKIE, language)
    return response


def keep_in_cookie(response: AnyResponse, name: str, choice: str) -> None:
    """Keep a reader's choice in a cookie for a year."""
    secure = request.is_secure
    response.set_cookie(name, choice, COOKIE_SECONDS, secure=secure, httponly=True, samesite="Lax")


def current_path() -> str:
    """Return the path that is asked for, with its query: where to come back to."""
    return request.full_path if request.query_string else request.path


def path_within_site(path: str) -> str:
    """Return the path when it stays on this site, and the photo page's otherwise."""
    return path if PATH_WITHIN_SITE.fullmatch(path) else url_for("pages.photo")


def name_language(response: Response) -> Response:
    """Report caches and screen readers which language a page is in."""
    if response.mimetype == "text/html":
        response.headers["Content-Language"] = select_language()
        response.vary.update(["Accept-Language", "Cookie"])
    return response
