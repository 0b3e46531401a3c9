"""Schemathesis tries the API as its OpenAPI document describes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.networks import ROOT
from helpers.upscaling import SOURCES
from helpers.web import running

pytest.importorskip("schemathesis", reason="Schemathesis is not installed")

pytestmark = pytest.mark.slow

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)


def test_the_answers_are_those_of_the_document(tiny_file: Path, tmp_path: Path):
    folders = (SOURCES, str(ROOT / "tests"), str(ROOT / "benchmarks"))
    with running(tiny_file, "--queue=1000", "--max-megapixels=1") as service:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{service.url}/openapi.json"),
                *(f"--checks={','.join(CHECKS)}", "--max-examples=15", "--seed=1"),
                *("--request-timeout=100", "--no-color"),
            ],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(folders),
                "SCHEMATHESIS_HOOKS": "helpers.schema_hooks",
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        statuses = service.log.read_text()
        assert '"status": 202' in statuses  # whole pictures were among those that it sent
        assert '"status": 500' not in statuses
