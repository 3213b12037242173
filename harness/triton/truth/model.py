"""A Triton model whose service time is known: one server, first come first served, told by each request.

Each request carries the seconds it shall be served for. The model keeps the queue itself: `execute` takes a
request the moment Triton hands it over and returns, and a thread answers it when its service is over. So a
request's answer is due at

    finish = finished(max(arrival, finish of the one before), service)

whatever the machine does meanwhile: an answer that a busy machine delays makes no later one late, as it would
if one call slept after the other. What is left on top is the wire and Triton's front end.

With the parameters `stall_s` and `period_s` the server stands still in the first `stall_s` of each `period_s`
of CLOCK_MONOTONIC, which client and server share on one machine: a service that a stall interrupts goes on
after it.

It imports only the standard library, numpy and Triton's own helper, because it runs outside the harness
package.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

_SPIN_S = 0.0002
"""The last part of a wait is spun, because a sleep may end this much late."""


def finished(start_s: float, service_s: float, stall_s: float, period_s: float) -> float:
    """When a service that may start at `start_s` is over, if the server stands still in each period's first
    `stall_s`. Seconds of one clock; no stalls where `stall_s` is 0."""
    if stall_s <= 0:
        return start_s + service_s
    period = math.floor(start_s / period_s)
    start_s = max(start_s, period * period_s + stall_s)
    # Seconds of work until the next stall, and from there whole periods of work.
    left_s = (period + 1) * period_s - start_s
    if service_s <= left_s:
        return start_s + service_s
    whole, rest_s = divmod(service_s - left_s, period_s - stall_s)
    if rest_s == 0:  # over just as a stall begins
        return (period + 1 + whole) * period_s
    return (period + 1 + whole) * period_s + stall_s + rest_s


class TritonPythonModel:
    """One instance of the model. Triton calls these methods by their names."""

    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"]).get("parameters", {})
        self.stall_s = float(parameters.get("stall_s", {}).get("string_value", "0"))
        self.period_s = float(parameters.get("period_s", {}).get("string_value", "1"))
        self.free_s = 0.0
        self.due: queue.SimpleQueue[tuple[float, Any, Any] | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._answer, daemon=True)
        self.thread.start()

    def execute(self, requests: list[Any]) -> None:
        """Take each request, and return; `_answer` sends its response."""
        for request in requests:
            arrived_s = time.monotonic()
            # By DLPack, because the backend reads numpy 1's structures, and a user's environment has numpy 2.
            service = pb_utils.get_input_tensor_by_name(request, "SERVICE_S")
            service_s = float(np.from_dlpack(service).reshape(-1)[0])
            self.free_s = finished(max(arrived_s, self.free_s), service_s, self.stall_s, self.period_s)
            response = pb_utils.InferenceResponse(
                [pb_utils.Tensor.from_dlpack("SERVED_S", service.to_dlpack())]
            )
            self.due.put((self.free_s, request.get_response_sender(), response))

    def _answer(self) -> None:
        while (item := self.due.get()) is not None:
            due_s, sender, response = item
            _wait_until(due_s)
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def finalize(self) -> None:
        self.due.put(None)
        self.thread.join()


def _wait_until(due_s: float) -> None:
    while (left_s := due_s - time.monotonic()) > 0:
        if left_s > _SPIN_S:
            time.sleep(left_s - _SPIN_S)
