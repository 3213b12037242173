"""Files that come with the ONNX project's own tests, with sizes that are fixed: each is served.

All of them, and what its generator makes, go through `python -m tests.bench.onnx_generator`.
"""

from pathlib import Path

import pytest
from onnx.backend import test

from tests.model.test_onnx_files import taken

FILES = sorted((Path(test.__file__).parent / "data").glob("pytorch-*/*/model.onnx"))


@pytest.mark.usefixtures("empty_cache")
def test_files_of_the_onnx_project_are_served_a_request_at_a_time() -> None:
    assert len(FILES) > 100
    for file in FILES[::12]:
        alone = taken(file).alone
        assert alone is not None and "is fixed to" in alone, file
