import json
import re
from collections.abc import Iterator
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers.nginx import ROOT

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


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


def test_the_dashboard_names_the_metrics_that_the_server_tells(client: FlaskClient) -> None:
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    told = {each.name + suffix for each in families for suffix in SUFFIXES.get(each.type, ())}
    shown = {name for query in QUERIES for name in re.findall(r"\braut_\w+", query)}
    assert len(shown) >= 7
    assert shown <= told
    ours = {name for each in families if (name := each.name).startswith("raut_")}
    counts = {name for name in ours if not name.endswith("_created")}
    assert {name for name in counts if not any(name in query for query in QUERIES)} == set()


def test_the_dashboard_picks_out_endpoints_that_there_are(app: Flask) -> None:
    picked = {name for query in QUERIES for name in re.findall(r'endpoint="([^"]+)"', query)}
    assert picked
    assert picked <= set(app.view_functions)
