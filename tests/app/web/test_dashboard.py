import json
import re
from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.nginx import ROOT

SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


def queries(value: Any) -> Iterator[str]:
    """Find all queries of a dashboard, its variables' as well."""
    if isinstance(value, dict):
        yield from (value[key] for key in ("expr", "query") if isinstance(value.get(key), str))
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from queries(each)


DASHBOARD = json.loads((ROOT / "deploy/grafana.json").read_text())
QUERIES = list(queries(DASHBOARD))


def test_the_dashboard_names_no_metric_that_the_server_does_not_tell(client: FlaskClient) -> None:
    told = {
        each.name + suffix
        for each in text_string_to_metric_families(client.get("/metrics").text)
        for suffix in SUFFIXES.get(each.type, ())
    }
    shown = {name for query in QUERIES for name in re.findall(r"\braut_\w+", query)}
    assert len(shown) >= 7
    assert shown <= told


def test_the_dashboard_picks_out_endpoints_that_there_are(app: Flask) -> None:
    picked = {name for query in QUERIES for name in re.findall(r'endpoint="([^"]+)"', query)}
    assert picked
    assert picked <= set(app.view_functions)


def test_every_count_of_ours_is_on_the_dashboard(client: FlaskClient) -> None:
    ours = {
        each.name
        for each in text_string_to_metric_families(client.get("/metrics").text)
        if each.name.startswith("raut_") and not each.name.endswith("_created")
    }
    assert {name for name in ours if not any(name in query for query in QUERIES)} == set()
