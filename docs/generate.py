"""Write the pages of docs/ that follow from the code: `make docs`, or python -m docs.generate."""

import importlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from app import create_app
from app.paths import PACKAGE
from app.settings import Settings, variable_of
from app.web.server.error_responses import STATUSES

DOCS = Path(__file__).parent
HEAD = "<!-- Written by `make docs`; edit the code instead. -->\n"
# Each group begins at a setting, in the order of app/settings.py.
GROUPS = {
    "models": "Models and readings",
    "inference_url": "Inference server",
    "port": "Web server and its load",
    "trusted_hosts": "Access",
}
PROGRAMS = {
    "raut": "app.__main__",
    "python -m training": "training.__main__",
    "python -m bench": "bench.__main__",
}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
# Codes that the source raises; those without a status of their own are answered with 400.
RAISED = re.compile(r'(?:RautError|_refusal|refuse\w*|unknown_choice)\(\s*"(\w+)"')
Schema = dict[str, Any]


def settings() -> str:
    """Return the page of the settings, from app/settings.py."""
    lines = [
        HEAD,
        "# Settings\n",
        "Settings are environment variables; lists and objects are JSON.",
    ]
    schemas = Settings.model_json_schema(by_alias=False)["properties"]
    for name, schema in schemas.items():
        if name in GROUPS:
            lines += [f"\n## {GROUPS[name]}\n", *_table("Variable", "Type", "Default", "Meaning")]
        default = schema["default"]
        if schema.get("format") == "path":
            default = Path(default).relative_to(PACKAGE.parent).as_posix()
        shown = "" if default in (None, "") else f"`{default}`"
        described = " ".join(schema["description"].split())
        lines.append(_row(f"`{variable_of(name)}`", _type(schema), shown, described))
    return "\n".join(lines) + "\n"


def http_api() -> str:
    """Return the page of the HTTP API, from its OpenAPI document and the codes of its errors."""
    document = create_app(Settings()).test_client().get("/api/v1/openapi.json").get_json()
    lines = [HEAD, "# HTTP API\n", document["info"]["description"] + "\n"]
    lines += [
        "The same is at `/api/v1/openapi.json`; [stream.md](stream.md) describes the WebSocket. A "
        "server that requires a token takes it as `Authorization: Bearer TOKEN`."
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [f"\n## {method.upper()} {path}\n", operation["summary"] + "."]
            lines += _operation(document, operation)
    lines += ["\n## Errors\n", "Errors are `application/problem+json` (RFC 9457):\n"]
    lines += _fields_table(document, document["components"]["schemas"]["Problem"])
    lines += ["\nThe codes are stable:\n", *_table("Code", "Status")]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    codes = {*STATUSES, *RAISED.findall(sources)}
    lines += sorted(_row(f"`{code}`", str(STATUSES.get(code, 400))) for code in codes)
    return "\n".join(lines) + "\n"


def command_line() -> str:
    """Return the page of the commands, from their help."""
    lines = [HEAD, "# Command line\n", "`python -m app` is the same as `raut`.\n"]
    for program, name in PROGRAMS.items():
        module = importlib.import_module(name)
        command = getattr(module, "cli", None) or module.main
        for context in _contexts(click.Context(command, info_name=program, terminal_width=80)):
            lines += [f"## {context.command_path}\n", f"```\n{context.get_help()}\n```\n"]
    return "\n".join(lines)


PAGES = {"settings.md": settings, "http-api.md": http_api, "command-line.md": command_line}


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _table(*titles: str) -> list[str]:
    return [_row(*titles), "|---" * len(titles) + "|"]


def _type(schema: Schema) -> str:
    """Describe a JSON schema's type: its choices, or its name and range."""
    schema = next((each for each in schema.get("anyOf", []) if each.get("type") != "null"), schema)
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    bounds = [f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema]
    return ", ".join([schema.get("format") or schema.get("type", "any"), *bounds])


def _fields(document: Schema, schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the path and schema of each field below a schema: faces[].box.x."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    below = {f".{name}": field for name, field in schema.get("properties", {}).items()}
    if isinstance(schema.get("additionalProperties"), dict):
        below[".NAME"] = schema["additionalProperties"]
    if schema.get("items", {}).keys() & {"properties", "$ref"}:
        below["[]"] = schema["items"]
    if not below:
        yield path, schema
    for step, field in below.items():
        yield from _fields(document, field, (path + step).removeprefix("."))


def _fields_table(document: Schema, schema: Schema) -> list[str]:
    fields = _fields(document, schema)
    rows = [_row(f"`{path}`", _type(each), each.get("description", "")) for path, each in fields]
    return [*_table("Field", "Type", "Meaning"), *rows]


def _operation(document: Schema, operation: Schema) -> Iterable[str]:
    """Describe an operation's form, its responses, and the fields of the one without error."""
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"\nRequest: `{kind}`\n"
        yield from _fields_table(document, content["schema"])
    yield from ["\nResponses\n", *_table("Status", "Meaning")]
    for status, response in operation["responses"].items():
        yield _row(status, response["description"])
    for content in operation["responses"]["200"].get("content", {}).values():
        yield "\nFields of 200\n"
        yield from _fields_table(document, content["schema"])


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command and of each command below it."""
    yield context
    for name, command in sorted(getattr(context.command, "commands", {}).items()):
        yield from _contexts(click.Context(command, context, name))


if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
