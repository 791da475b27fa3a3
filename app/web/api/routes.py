"""Answer programs: the JSON API and its OpenAPI document."""

from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.vision.pipeline import labels_of, of_region
from app.web.api import teach, uploads
from app.web.api.model_selection import named_choice
from app.web.api.openapi import describe_api
from app.web.api.uploads import read_upload
from app.web.server.state import state

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


@blueprint.post("/analyze")
def analyze() -> Response:
    """Read one photo."""
    with state().admission.photo():
        data = read_upload()
        return jsonify(uploads.analyze(data, named_choice(request.form)).to_json())


@blueprint.post("/features")
def features() -> Response:
    """Return what new classes are taught with: the features of one photo."""
    with state().admission.photo():
        data = read_upload()
        return jsonify(teach.read_features(data, request.form.get(teach.REGION, "face")))


@blueprint.post("/heads")
def heads() -> Response:
    """Return the model folder of a head that was fitted to features, as a ZIP file."""
    with state().admission.photo():
        name, packed = teach.read_head(_read_json())
    disposition = {"Content-Disposition": f'attachment; filename="{name}.zip"'}
    return Response(packed, headers=disposition, content_type="application/zip")


def _read_json() -> Any:
    """Return the request's JSON; None where it is none, or nested too deep to be read."""
    try:
        return request.get_json(silent=True)
    except RecursionError:
        return None


@blueprint.get("/models")
def models() -> Response:
    """Describe the loaded models: what they read, for what, and how well."""
    described: list[dict[str, Any]] = []
    for classifier in state().analyzer.classifiers.values():
        card = classifier.card.model_dump()
        described.append(
            {**card, "default_head": classifier.head_name, "sha256": classifier.digest}
        )
    return jsonify(models=described)


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Describe this API in OpenAPI 3.1."""
    classifiers = state().analyzer.classifiers
    labels = sorted({name for each in classifiers.values() for name in labels_of(each)})
    pictures = sorted(of_region(classifiers, "image"))
    return jsonify(describe_api(sorted(classifiers), pictures, labels))
