"""A Triton as many people start it: whoever reaches it can load models, share memory and alter settings."""

from __future__ import annotations

from pathlib import Path

from harness.triton import access
from harness.triton.embedded import EmbeddedServer
from harness.triton.server_folder import ServerFolder


class OpenServer(EmbeddedServer):
    """Somebody else's server, for what harness does with one by `--url`, and what others could do to it."""

    def command_line(self, folder: ServerFolder) -> list[str]:
        given = [word for word in super().command_line(folder) if not word.startswith(access.OPTIONS)]
        given[given.index("--model-control-mode=none")] = "--model-control-mode=explicit"
        return [*given, "--load-model=*"]

    @property
    def served_folder(self) -> Path:
        """The model repository that the process reads."""
        assert self._folder is not None
        return self._folder.repository
