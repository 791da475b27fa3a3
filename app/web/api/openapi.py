"""Describe the API in OpenAPI 3.1; the tests check the API against it."""

from typing import Any

from app.vision.detection.detector import EFFORTS
from app.vision.imaging.decoding import FORMATS
from app.vision.models.cards import NONE_OF_THESE
from app.web.api.uploads import FIELD
from app.web.server.error_responses import PROBLEM_TYPE

Schema = dict[str, Any]


def describe_api(models: list[str], pictures: list[str], labels: list[str]) -> Schema:
    """Return the document for an application that serves these models and expression labels.

    `pictures` are those of the models that read whole pictures.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Raut",
            "version": "1",
            "description": "Finds faces in a photo and reads the expression shown and the "
            "perceived gender; where it is asked for, says which kind of clothes a picture shows. "
            "Nothing is kept. A camera's frames are read over a WebSocket at "
            "/api/v1/stream, which OpenAPI can't describe: docs/stream.md does.",
        },
        "paths": {
            "/api/v1/analyze": {"post": _analyze(models, pictures, labels)},
            "/api/v1/models": {
                "get": _operation(
                    "listModels", "Describe the loaded models", _object(models=_ARRAY)
                )
            },
            "/healthz": {"get": _operation("healthz", "Tell whether the process lives", _STATUS)},
            "/readyz": {"get": _operation("readyz", "Tell whether models are loaded", _STATUS)},
        },
        "components": {
            "schemas": {"Analysis": _ANALYSIS, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # Either none or a token: whether one is called for is the server's operator's choice.
        "security": [{}, {"token": []}],
    }


def _analyze(models: list[str], pictures: list[str], labels: list[str]) -> Schema:
    form = _object(
        **{
            FIELD: {
                "type": "string",
                "contentMediaType": "application/octet-stream",
                "description": f"A photo: {', '.join(FORMATS)}.",
            }
        }
    )
    form["properties"]["models"] = {
        "type": "string",
        "description": "Which models answer, at most one for each task, joined by commas: "
        f"{', '.join(models)}. {_tell_default(pictures)}",
    }
    form["properties"]["label_set"] = {
        "type": "string",
        "enum": labels,
        "description": "Which labels the expression follows; the model's card by default.",
    }
    form["properties"]["effort"] = {
        "type": "string",
        "enum": list(EFFORTS),
        "description": "How hard faces are searched: fast looks once, balanced looks again where "
        "nothing was found, thorough looks for all turns and sizes.",
    }
    operation = _operation("analyze", "Read one photo", {"$ref": "#/components/schemas/Analysis"})
    operation["requestBody"] = {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": form,
                "encoding": {FIELD: {"contentType": "image/jpeg, image/png, image/webp"}},
            }
        },
    }
    refusals = {
        "400": "No photo, an empty one, or an unknown model, labels or effort",
        "401": "The server reads photos only for those who send a token that it knows",
        "403": "The request came from another site's page",
        "408": "The upload came in too slowly",
        "413": "The upload is too large",
        "415": "No picture of an accepted kind",
        "422": "The picture is damaged, too large or too small",
        "429": "Too many photos came from this client; Retry-After says when to try again",
        "503": "Too many photos wait already, or an inference server that computes the readings "
        "doesn't answer; Retry-After says when to try again",
    }
    operation["responses"].update({code: _problem(text) for code, text in refusals.items()})
    return operation


def _tell_default(pictures: list[str]) -> str:
    told = "One for each task about faces by default."
    if not pictures:
        return told
    return (
        f"{told} {', '.join(pictures)} read the whole picture and answer only where they are "
        "named, under `image_predictions`; without a model about faces, none are looked for."
    )


def _operation(name: str, summary: str, answer: Schema) -> Schema:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"application/json": {"schema": answer}},
            },
            "default": _problem("A error"),
        },
    }


def _problem(description: str) -> Schema:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM_TYPE: {"schema": schema}}}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer"}
_ARRAY: Schema = {"type": "array", "items": {"type": "object"}}
_SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_STATUS = _object(status=_TEXT)
_PREDICTION = _object(
    label=_TEXT, probability=_SHARE, confident={"type": "boolean"}, probabilities=_map(_SHARE)
)
_FACE = _object(
    box=_object(x=_COUNT, y=_COUNT, width=_COUNT, height=_COUNT),
    score=_SHARE,
    roll_degrees={
        "type": "number",
        "minimum": -180,
        "maximum": 180,
        "description": "The face's turn, clockwise: the box turned so about its centre lies on it.",
    },
)
_FACE["properties"] |= {"expression": _PREDICTION, "gender": _PREDICTION}
_ANALYSIS = _object(
    image=_object(width=_COUNT, height=_COUNT),
    faces={"type": "array", "items": _FACE},
    timings_ms=_map({"type": "number", "minimum": 0}),
    models=_map(_TEXT),
)
_ANALYSIS["properties"]["image_predictions"] = _map(_PREDICTION) | {
    "description": "What the models of whole pictures read, by their names. The label "
    f"{NONE_OF_THESE} says that a picture shows none of a model's classes."
}
_PROBLEM = _object(type=_TEXT, title=_TEXT, status=_COUNT, detail=_TEXT, code=_TEXT)
