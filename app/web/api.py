"""Answer programs: the JSON API and its OpenAPI document."""

from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.web.openapi import describe_api
from app.web.uploads import analyze_upload, current_analyzer

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


@blueprint.post("/analyze")
def analyze() -> Response:
    """Read the faces in one photo."""
    return jsonify(analyze_upload(request).to_json())


@blueprint.get("/models")
def models() -> Response:
    """Describe the loaded models: what they read, for what, and how well."""
    described: list[dict[str, Any]] = []
    for classifier in current_analyzer().classifiers.values():
        card = classifier.card.model_dump()
        described.append({**card, "answers": classifier.head_name, "sha256": classifier.digest})
    return jsonify(models=described)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Describe this API in OpenAPI 3.1."""
    return jsonify(describe_api(sorted(current_analyzer().classifiers)))
