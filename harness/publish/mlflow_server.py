"""An MLflow server, told of a run once: one that was cut off goes on, one that is whole isn't told again.

The client is MLflow's own (the extra `mlflow`). It takes credentials from the environment
(MLFLOW_TRACKING_TOKEN, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD), and from nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.cache import file_sha256
from harness.plain_file import check_plain
from harness.plain_text import quoted, shown
from harness.publish.tracked_run import TrackedRun
from harness.schema.errors import HarnessError, InputError
from harness.schema.model import Model
from harness.schema.served_model import ServedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient

URI = "MLFLOW_TRACKING_URI"
KEY = "harness.key"
"""The tag by which a run is found again."""

_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Of MLflow's client, where the user's environment doesn't say otherwise: a server that is down is known in
seconds rather than minutes, and nothing is printed or sent elsewhere."""

_MOST_PARAMS, _MOST_METRICS = 100, 1000
"""That one request may have."""


def tracking_uri(given: str | None, environment: Mapping[str, str]) -> str:
    """What `--tracking-uri` or the environment names. Raises InputError where neither does, and where
    credentials stand in it, which a command line and a log would show."""
    uri = given or environment.get(URI, "")
    if not uri:
        raise InputError(f"which MLflow server? give --tracking-uri http://HOST:5000, or set {URI}")
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"the MLflow server's address is to begin with http:// or https://, in {URI} too")
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "leave credentials out of the MLflow server's address, and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    return uri.rstrip("/")


def publish(
    run: TrackedRun,
    folder: Path,
    *,
    uri: str,
    experiment: str,
    register_model: str | None,
    say: Callable[[str], None],
) -> str:
    """Tell the server of a run, and register its model where asked; the address of its page there.

    Raises HarnessError where the server doesn't answer or refuses: nothing is lost here, and publishing again
    goes on from there. InputError where the model that shall be registered isn't there any more.
    """
    model = None if register_model is None else _file_of(run.model)
    with _told(uri):
        client = _client(uri)
        experiment_id = _experiment(client, experiment)
        known = client.search_runs([experiment_id], f"tags.`{KEY}` = '{run.key}'", max_results=1)
        if known:
            run_id, whole = known[0].info.run_id, known[0].info.status == "FINISHED"
        else:
            tags = {name: _value(text) for name, text in run.tags.items()} | {KEY: run.key}
            made = client.create_run(experiment_id, run.started_ms, tags, run.run_id)
            run_id, whole = made.info.run_id, False
        if whole:
            say(f"{run.run_id} is there already")
        else:
            _log(client, run_id, run, folder)
            client.set_terminated(run_id, "FINISHED", run.ended_ms)
        if register_model is not None and model is not None:
            version = _registered(client, register_model, model, run, run_id)
            say(f"model: {register_model}, version {version}")
    return f"{uri}/#/experiments/{experiment_id}/runs/{run_id}"


def _client(uri: str) -> MlflowClient:
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _told(uri: str) -> Iterator[None]:
    """What goes wrong in the block as one sentence."""
    try:
        yield
    except HarnessError:
        raise
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        raise HarnessError("MLflow's client isn't installed: run `pip install 'harness[mlflow]'`") from error
    except Exception as error:
        theirs = type(error).__module__.partition(".")[0] in ("mlflow", "requests", "urllib3")
        if not theirs and not isinstance(error, OSError):
            raise
        raise HarnessError(
            f"MLflow at {uri} wasn't told, for {_why(error)}: nothing is lost, publish again when it can be"
        ) from error


def _why(error: BaseException) -> str:
    """MLflow wraps what requests says, which wraps what urllib3 says."""
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ in ("ConnectionError", "ConnectTimeout", "ReadTimeout", "MaxRetryError"):
            return "it doesn't answer"
        cause = cause.__cause__ or cause.__context__
    return f"it says: {quoted(str(error), 200)}"


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


def _log(client: MlflowClient, run_id: str, run: TrackedRun, folder: Path) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(_name(name), _value(text)) for name, text in run.params.items()]
    for first in range(0, len(params), _MOST_PARAMS):
        client.log_batch(run_id, params=params[first : first + _MOST_PARAMS])
    metrics = [Metric(_name(each.name), each.value, run.ended_ms, each.step) for each in run.metrics]
    for first in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _MOST_METRICS])
    for name in run.files:
        file = folder / name
        if file.exists():
            check_plain(file)
            parent = str(Path(name).parent)
            client.log_artifact(run_id, str(file), None if parent == "." else parent)


def _file_of(model: Model | None) -> Path:
    """The ONNX file that was measured. Only one whose content is known is sent anywhere: a folder that
    somebody else made may name any file."""
    if model is None:
        raise InputError("no model is known here that could be registered: leave out --register-model")
    if isinstance(model, ServedModel):
        raise InputError(
            f"{model.name} is as its server has it, and no file of it is here that could be registered: "
            "leave out --register-model"
        )
    file = model.path
    try:
        check_plain(file)
        known = file_sha256(file) == model.sha256
    except OSError:
        known = False
    if not known:
        raise InputError(
            f"the model that was measured isn't at {shown(str(file))} any more: publish where it was "
            "measured, or leave out --register-model"
        )
    return file


def _registered(client: MlflowClient, name: str, file: Path, run: TrackedRun, run_id: str) -> str:
    """The number of the version; that of before where this run has one."""
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
    for version in client.search_model_versions(f"run_id = '{run_id}'"):
        if version.name == name:
            return str(version.version)
    client.log_artifact(run_id, str(file), "model")
    tags: dict[str, Any] = {KEY: run.key, "sha256": file_sha256(file)}
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    return str(client.create_model_version(name, source, run_id, tags).version)


def _name(text: str) -> str:
    """As MLflow takes names of parameters and metrics."""
    return re.sub(r"[^\w.\-/ :]", "_", text)[:250].strip("/.") or "_"


def _value(text: str) -> str:
    return shown(text)[:5000]
