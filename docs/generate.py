"""Write the pages of docs/ that follow from the code: `make docs`, or python -m docs.generate."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from app import create_app
from app.paths import PACKAGE
from app.settings import Settings, variable_of
from app.web.server.error_responses import CODES, STATUSES

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
# A code that the source raises without giving it a status is the client's mistake: 400.
RAISED = re.compile(r'(?:RautError|_refusal|refuse\w*)\(\s*"(\w+)"')
Schema = dict[str, Any]


def settings() -> str:
    """Return the page of the settings, from app/settings.py."""
    lines = [
        HEAD,
        "# Settings\n",
        "Raut reads its settings from environment variables. Lists and objects are JSON.",
    ]
    schemas = Settings.model_json_schema()["properties"]
    for name in Settings.model_fields:
        variable = variable_of(name)
        schema = schemas.get(name) or schemas[variable]
        if name in GROUPS:
            lines += [f"\n## {GROUPS[name]}\n", *_table("Variable", "Type", "Default", "Meaning")]
        default = schema["default"]
        if schema.get("format") == "path":
            default = Path(default).relative_to(PACKAGE.parent).as_posix()
        text = "" if default in (None, "") else f"`{default}`"
        lines.append(_row(f"`{variable}`", _type(schema), text, schema["description"]))
    return "\n".join(lines) + "\n"


def http_api() -> str:
    """Return the page of the HTTP API, from its OpenAPI document and the codes of its errors."""
    response = create_app(Settings()).test_client().get("/api/v1/openapi.json")
    document: Schema = json.loads(response.data)
    lines = [
        HEAD,
        "# HTTP API\n",
        document["info"]["description"] + "\n",
        "`/api/v1/openapi.json` is the same as OpenAPI 3.1, [stream.md](stream.md) describes the "
        "WebSocket. Where the server requires a token, send it as `Authorization: Bearer TOKEN`.",
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            lines += [f"\n## {method.upper()} {path}\n", operation["summary"] + "."]
            lines += _operation(document, operation)
    lines += ["\n## Errors\n", "An error is `application/problem+json` (RFC 9457):\n"]
    lines += _fields_table(document, document["components"]["schemas"]["Problem"])
    lines += ["\nThe codes are stable:\n", *_table("Status", "Codes"), *_codes()]
    return "\n".join(lines) + "\n"


def command_line() -> str:
    """Return the page of the commands, from their help."""
    lines = [HEAD, "# Command line\n", "`python -m app` is the same as `raut`."]
    for program, name in PROGRAMS.items():
        module = importlib.import_module(name)
        command = getattr(module, "cli", None) or module.main
        lines += [f"\n## {program}\n"]
        for context in _contexts(click.Context(command, info_name=program, max_content_width=88)):
            lines += [f"    {line}".rstrip() for line in context.get_help().splitlines()]
            lines += [""]
    return "\n".join(lines)


PAGES = {"settings.md": settings, "http-api.md": http_api, "command-line.md": command_line}


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _table(*titles: str) -> list[str]:
    return [_row(*titles), "|---" * len(titles) + "|"]


def _type(schema: Schema) -> str:
    """Describe the type of a JSON schema: its choices, or its name and range."""
    if choices := schema.get("anyOf"):
        return " or ".join(_type(each) for each in choices if each.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("format") or schema.get("type", "any")
    bounds = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
    }
    limits = [text.format(schema[key]) for key, text in bounds.items() if key in schema]
    return ", ".join([str(kind), *limits])


def _fields(document: Schema, schema: Schema, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield the path and schema of each field below a schema: faces[].box.x."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for name, field in schema.get("properties", {}).items():
        yield from _fields(document, field, f"{prefix}.{name}" if prefix else name)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _fields(document, schema["additionalProperties"], f"{prefix}.NAME")
    elif "properties" in schema.get("items", {}) or "$ref" in schema.get("items", {}):
        yield from _fields(document, schema["items"], f"{prefix}[]")
    elif "properties" not in schema:
        yield prefix, schema


def _fields_table(document: Schema, schema: Schema) -> list[str]:
    return _table("Field", "Type", "Meaning") + [
        _row(f"`{path}`", _type(field), field.get("description", ""))
        for path, field in _fields(document, schema)
    ]


def _operation(document: Schema, operation: Schema) -> list[str]:
    """Describe a method's form, its answers and the fields of the one without error."""
    lines = []
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += [f"\nRequest: `{kind}`\n", *_fields_table(document, content["schema"])]
    lines += ["\nResponses\n", *_table("Status", "Meaning")]
    lines += [
        _row(status, answer["description"]) for status, answer in operation["responses"].items()
    ]
    for content in operation["responses"].get("200", {}).get("content", {}).values():
        lines += ["\nFields of 200\n", *_fields_table(document, content["schema"])]
    return lines


def _codes() -> list[str]:
    """Return a row for each status with its codes."""
    sources = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
    codes = {*STATUSES, *CODES.values(), *RAISED.findall("\n".join(sources))}
    statuses = {code: STATUSES.get(code, 400) for code in codes}
    return [
        _row(
            str(status),
            ", ".join(f"`{code}`" for code in sorted(codes) if statuses[code] == status),
        )
        for status in sorted(set(statuses.values()))
    ]


def _contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command and of each command below it."""
    yield context
    if isinstance(context.command, click.Group):
        for name, command in sorted(context.command.commands.items()):
            yield from _contexts(
                click.Context(command, context, name, max_content_width=context.max_content_width)
            )


if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write(), encoding="utf-8")
