"""Describe the API in OpenAPI 3.1; the tests check the API against it."""

from collections.abc import Iterable
from typing import Any, get_args

from app.vision.detection.detector import DETECTORS, EFFORTS
from app.vision.imaging.decoding import FORMATS
from app.vision.models.cards import Region
from app.vision.readings import Analysis
from app.web.api.teach import REGION, FeatureAnswer, NewClass, NewFigures, NewHead
from app.web.api.uploads import FIELD
from app.web.server.error_responses import PROBLEM_TYPE

Schema = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    "400": "No photo, an empty one, or an unknown model, label set or effort",
    "401": "The server requires a token, and the request has none that it knows",
    "403": "The request came from another site's page",
    "408": "The upload came in too slowly",
    "413": "The upload is too large",
    "415": "The file is in no accepted format",
    "422": "The image is damaged, too large or too small",
    "429": "This client sent too many photos; Retry-After says when to try again",
    "503": "Too many photos are waiting, or the inference server that computes the readings "
    "doesn't answer; Retry-After says when to try again",
}


def describe_api(models: list[str], image_models: list[str], label_sets: list[str]) -> Schema:
    """Return the OpenAPI document of an application that serves these models and label sets.

    `image_models` are those of the models that read whole images.
    """
    analysis = Analysis.model_json_schema(mode="serialization", ref_template=_REFERENCE)
    # A face has a prediction under each model's task; these tasks are part of the contract.
    analysis["$defs"]["FaceReading"]["properties"] |= dict.fromkeys(
        ("expression", "gender"), _reference("Prediction")
    )
    status = _object(status=_TEXT)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Raut",
            "version": "1",
            "description": "Finds faces in a photo and reads the expression shown and the "
            "perceived gender; on request it classifies the clothes in the photo. Nothing is "
            "stored. A camera's frames are read over a WebSocket at /api/v1/stream, which OpenAPI "
            "can't describe: docs/stream.md does.",
        },
        "paths": {
            "/api/v1/analyze": {"post": _analyze(models, image_models, label_sets)},
            "/api/v1/features": {"post": _features()},
            "/api/v1/heads": {"post": _heads()},
            "/api/v1/models": {
                "get": _operation(
                    "listModels",
                    "Describe the loaded models",
                    _object(models={"type": "array", "items": {"type": "object"}}),
                )
            },
            "/healthz": {"get": _operation("healthz", "Report whether the process lives", status)},
            "/readyz": {"get": _operation("readyz", "Report whether models are loaded", status)},
        },
        "components": {
            "schemas": {
                **analysis.pop("$defs"),
                **{each.__name__: each.model_json_schema() for each in (NewClass, NewFigures)},
                "Analysis": analysis,
                "Problem": _object(
                    type=_TEXT, title=_TEXT, status={"type": "integer"}, detail=_TEXT, code=_TEXT
                ),
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # Whether a token is required is the operator's choice.
        "security": [{}, {"token": []}],
    }


def _analyze(models: list[str], image_models: list[str], label_sets: list[str]) -> Schema:
    default = "One for each task about faces by default."
    if image_models:
        default += (
            f" {', '.join(image_models)} read the whole image: they answer only if named, under "
            "`image_predictions`; if no model about faces is named, faces are not searched."
        )
    operation = _operation("analyze", "Read one photo", _reference("Analysis"))
    return _take_photo(
        operation,
        {
            "models": {
                "type": "string",
                "description": "The models to use, at most one for each task, separated by commas: "
                f"{', '.join(models)}. {default}",
            },
            "label_set": _choice(
                label_sets, "The labels of the expression; the model card's by default."
            ),
            "effort": _choice(
                EFFORTS,
                "How thoroughly faces are searched: fast in one pass, balanced in "
                "more passes if none was found, thorough at all rotations and sizes.",
            ),
            "detector": _choice(
                DETECTORS,
                "What proposes faces: combined, the Haar cascade and a network; "
                "haar, the cascade alone, which finds upright frontal faces. By default the "
                "server's setting.",
            ),
        },
    )


def _features() -> Schema:
    region = _choice(get_args(Region), "face, the largest one, by default; image, the whole photo.")
    answer = FeatureAnswer.model_json_schema(mode="serialization")
    answer["properties"]["box"]["anyOf"][0] = _reference("Box")
    del answer["$defs"]
    operation = _operation("features", "Return the features of one photo, for teaching", answer)
    return _take_photo(operation, {REGION: region})


def _heads() -> Schema:
    head = NewHead.model_json_schema(ref_template=_REFERENCE)
    del head["$defs"]
    operation = _operation("heads", "Return the model folder of a head fitted to features", {})
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": head}}}
    operation["responses"]["200"]["content"] = {
        "application/zip": {
            "schema": {
                "type": "string",
                "description": "A folder of the head's name with model.onnx, card.json and "
                "README.md.",
            }
        }
    }
    operation["responses"] |= {
        "409": _problem("The features are of other networks than the server has"),
        "422": _problem("The head lacks something; `field` and the detail say what"),
    }
    return operation


def _take_photo(operation: Schema, fields: Schema) -> Schema:
    """Let an operation take a photo and the fields of its form."""
    photo = {
        "type": "string",
        "contentMediaType": "application/octet-stream",
        "description": f"A photo: {', '.join(FORMATS)}.",
    }
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: photo, **fields}}
    operation["requestBody"] = {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": form,
                "encoding": {FIELD: {"contentType": "image/*, application/octet-stream"}},
            }
        },
    }
    operation["responses"] |= {status: _problem(text) for status, text in _ERRORS.items()}
    return operation


def _operation(name: str, summary: str, answer: Schema) -> Schema:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"application/json": {"schema": answer}},
            },
            "default": _problem("An error"),
        },
    }


def _problem(description: str) -> Schema:
    content = {PROBLEM_TYPE: {"schema": _reference("Problem")}}
    return {"description": description, "content": content}


def _reference(model: str) -> Schema:
    return {"$ref": _REFERENCE.format(model=model)}


def _choice(names: Iterable[str], description: str) -> Schema:
    return {"type": "string", "enum": list(names), "description": description}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT: Schema = {"type": "string"}
