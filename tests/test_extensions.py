"""What another installed package adds to harness, as far as it is the same for every kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.extensions import extensions
from harness.schema.errors import InputError
from tests.extension import installed


def test_what_a_package_adds_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = installed(tmp_path, "gates", {"always": "MEANING = 'always'"}, attribute="MEANING")
    monkeypatch.syspath_prepend(str(package))
    extensions.cache_clear()
    assert extensions("gates")["always"] == "always"
    assert "always" not in extensions("load_shapes")
    extensions.cache_clear()


def test_one_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = installed(tmp_path, "gates", {"broken": "import nowhere_at_all"}, attribute="MEANING")
    monkeypatch.syspath_prepend(str(package))
    extensions.cache_clear()
    with pytest.raises(InputError, match=r"package harness-extension adds 'broken' .* uninstall the package"):
        extensions("gates")
    extensions.cache_clear()
