"""The HTTP API holds its own OpenAPI description against generated requests: `make test-api`."""

from pathlib import Path
from typing import Any

import pytest
from colour import ColourEmbedder, write_colours
from hypothesis import HealthCheck, given, settings

from vlrlt.index.run.build import index_paths
from vlrlt.serve.app import create_app
from vlrlt.service import Library

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed; make test-api installs it")


@pytest.mark.parametrize("max_examples", [5, pytest.param(40, marks=pytest.mark.api)])
def test_no_request_crashes_the_server(tmp_path: Path, max_examples: int) -> None:
    write_colours(tmp_path / "archive" / "a.mp4", [("red", 2), ("blue", 1)])
    index_paths([tmp_path / "archive"], library_dir=tmp_path / "library", embedder=ColourEmbedder())
    with Library(tmp_path / "library", model=ColourEmbedder()) as service:
        app = create_app(service, requests_per_s=1e6)
        operations = [found.ok() for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations()]
        assert len(operations) >= 12
        for operation in operations:

            @settings(max_examples=max_examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def hold(case: Any) -> None:
                response = case.call()
                assert response.status_code < 500, f"{case.method} {case.path}: {response.text}"
                if response.status_code >= 400:
                    assert response.json()["error"].keys() == {"type", "message"}, response.text

            hold()
