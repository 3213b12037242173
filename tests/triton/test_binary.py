"""`--server binary`: the `tritonserver` on PATH, here the embedded one behind a script."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from harness.schema.errors import HarnessError, InputError, ServerError
from harness.schema.model import ModelArtifact
from harness.triton import implementation
from harness.triton.binary import BinaryServer
from harness.triton.server_folder import ServerFolder
from harness.triton.statistics import difference
from tests.triton.clients import floats, infer
from tests.triton.models import settings
from tests.triton.test_faults import alive, eventually

Artifacts = dict[str, ModelArtifact]
Places = tuple[Path, Path]


@pytest.fixture
def on_path(tritonserver: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tritonserver}:/usr/bin:/bin")
    return tritonserver


@pytest.mark.triton
def test_command_line_and_environment_are_the_installations_own(
    places: Places, on_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_INSTALLATION", "yes")
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    closed = "model-repository,shared-memory,trace,logging:harness-access=…"
    with BinaryServer(*places, response_cache=True) as triton:
        triton.start()
        assert triton.command == (
            str(on_path / "tritonserver"),
            f"--model-repository={ServerFolder.of(triton.name).repository}",
            "--model-control-mode=none",
            f"--backend-config=python,shm-region-prefix-name={triton.name}",
            "--http-address=127.0.0.1",
            f"--http-port={triton.http_port}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={triton.grpc_port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={triton.metrics_port}",
            "--allow-gpu-metrics=false",
            "--exit-timeout-secs=5",
            "--disable-auto-complete-config",
            "--cache-config=local,size=67108864",
            f"--http-restricted-api={closed}",
            f"--grpc-restricted-protocol={closed}",
        )
        (pid,) = triton.process_ids()
        seen = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert {b"OF_THE_INSTALLATION=yes", b"CUDA_DEVICE_ORDER=PCI_BUS_ID"} <= set(seen)
        assert (triton.mode, triton.image, triton.version) == ("binary", None, "2.51.0")
        assert triton.execution_provider is triton.backend_version is None
    assert triton.command is None


@pytest.mark.triton
@pytest.mark.usefixtures("on_path")
def test_a_server_too_old_to_be_told_of_clients_memory_starts_without(places: Places) -> None:
    triton = BinaryServer(*places, shared_memory="system")
    assert "--allow-client-shm=true" in triton.arguments("/models", "127.0.0.1", (1, 2, 3))
    with triton:
        triton.start()
        assert triton.command is not None
        assert not any("allow-client-shm" in word for word in triton.command)
        assert triton.control.ready()
    assert "unrecognized option '--allow-client-shm=true'" in places[1].read_text()


@pytest.mark.triton
def test_a_server_too_old_for_every_newer_option_starts_without_them_and_loads_no_code(
    places: Places, artifacts: Artifacts, on_path: Path
) -> None:
    program = on_path / "tritonserver"
    program.rename(on_path / "newer")
    script = """#!/bin/sh
for word in "$@"; do case "$word" in
  --http-restricted-api=*|--grpc-restricted-protocol=*)
    echo "tritonserver: unrecognized option '$word'" >&2; exit 1;;
esac; done
exec "$0-newer" "$@"
"""
    (on_path / "newer").rename(on_path / "tritonserver-newer")
    program.write_text(script)
    program.chmod(0o755)
    with BinaryServer(*places, shared_memory="system") as triton:
        name = triton.serve(artifacts["double"], settings())
        assert triton.command is not None and not [word for word in triton.command if "restricted" in word]
        assert triton.control.takes("GET", "/v2/logging")
        with pytest.raises(ServerError, match="not allowed"):
            triton.control.load(name)


@pytest.mark.triton
@pytest.mark.usefixtures("on_path")
def test_it_serves_is_counted_and_leaves_nothing(places: Places, artifacts: Artifacts) -> None:
    with BinaryServer(*places) as triton:
        name = triton.serve(artifacts["double"], settings(instances=2))
        before = triton.statistics(name)
        feed = {"x": floats(3, 5)}
        assert np.array_equal(infer(triton, name, feed)["y"], feed["x"] * 2)
        assert difference(before, triton.statistics(name)).inferences == 3
        # Which backend it has is read from its log, and this one has ours.
        assert (triton.backend, triton.backend_version) == (implementation.PYTHON, None)
        assert (triton.execution_provider, triton.provider_options) == ("CPUExecutionProvider", {})
        pids = triton.process_ids()
        assert len(pids) == 3
    assert alive(pids) == []


@pytest.mark.triton
@pytest.mark.usefixtures("on_path")
def test_killed_server_says_so_and_comes_back_with_its_model(places: Places, artifacts: Artifacts) -> None:
    with BinaryServer(*places) as triton:
        triton.serve(artifacts["double"], settings(max_batch=5))
        os.kill(triton.process_ids()[0], signal.SIGKILL)
        assert eventually(lambda: triton.exit_reason() is not None)
        assert triton.exit_reason() == "Triton was killed by SIGKILL"
        triton.restart()
        assert triton.control.model_config("double")["max_batch_size"] == 5


def test_no_tritonserver_on_path_is_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HarnessError, match=r"no tritonserver on PATH: .*/opt/tritonserver/bin"):
        BinaryServer(*places).__enter__()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("#!/nowhere/sh\n", "can't be started"),
        ("#!/bin/sh\necho 'error: its library is missing' >&2; exit 3\n", "status 3: its library is missing"),
        ("#!/bin/sh\nkill -s SEGV $$\n", "killed by SIGSEGV"),
    ],
)
def test_tritonserver_that_does_not_start_is_told_in_one_sentence(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    (tmp_path / "tritonserver").write_text(script)
    (tmp_path / "tritonserver").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ServerError, match=said) as told, BinaryServer(*places) as triton:
        triton.start()
    assert "\n" not in str(told.value)


@pytest.mark.triton
@pytest.mark.usefixtures("on_path")
def test_cuda_graphs_are_refused_where_the_backend_would_compute_without(
    places: Places, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVIDIA's C++ backend doesn't read that part of the configuration."""
    monkeypatch.setattr(BinaryServer, "served_by", lambda *_: (implementation.CPP, None))
    monkeypatch.setattr(BinaryServer, "settings_there", lambda *_: settings())  # no GPU here to load it on
    with BinaryServer(*places) as triton, pytest.raises(InputError, match="would compute without"):
        triton.serve(artifacts["double"], settings(kind="gpu", cuda_graph=True))
