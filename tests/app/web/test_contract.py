import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance


def test_every_answer_is_as_documented(app: Flask) -> None:
    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", app)
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok)

        @given(case=operation.ok().as_strategy())
        @settings(
            max_examples=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def answers_as_documented(case: Case) -> None:
            # No schema can say which bytes are a photo, so that most of what fits it is refused.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        answers_as_documented()


def test_the_document_describes_every_address_of_the_api(app: Flask) -> None:
    described = set(app.test_client().get("/api/v1/openapi.json").get_json()["paths"])
    served = {rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/api/")}
    # OpenAPI has no words for a socket: its protocol stands in docs/stream.md.
    assert served - {"/api/v1/openapi.json", "/api/v1/stream"} <= described
