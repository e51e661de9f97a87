"""The service keeps its own OpenAPI schema, whatever it is asked: fuzzed with schemathesis."""

from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")
import schemathesis
from hypothesis import HealthCheck, given, settings
from tests.helpers.blobs import ToyEncoder

from gags.serve.app import Service
from gags.serve.settings import ServeSettings

TOKEN = "t0ken"


@pytest.fixture(scope="module")
def service(finished: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gags.serve.pool.load_encoder", lambda name: ToyEncoder())
        service = Service({"toy": finished}, {}, ServeSettings(token=TOKEN, rate=1e6))
        yield service
        service.close()


def test_answers_are_what_the_schema_says(service: Service):
    schema = schemathesis.openapi.from_asgi("/openapi.json", service.app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 11
    for operation in operations:
        _fuzz(operation)


def _fuzz(operation) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def check(case) -> None:
        if case.path_parameters:
            case.path_parameters["scene"] = "toy"  # a name that exists is hardly ever guessed
        case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})

    check()
