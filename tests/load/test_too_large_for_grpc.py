"""A request larger than a gRPC message may be; tests/bench/test_largest_message.py has the real size."""

from __future__ import annotations

import numpy as np
import pytest

from harness.load.wire.grpc import grpc_messages
from harness.schema.errors import InputError


def test_it_is_one_sentence_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert grpc_messages.LARGEST_MESSAGE < 2**31
    monkeypatch.setattr(grpc_messages, "LARGEST_MESSAGE", 1000)
    assert grpc_messages.prepare("m", {"x": np.zeros(100, np.uint8), "y": np.zeros(225, np.float32)}, ())
    with pytest.raises(InputError, match=r"1,004 bytes of tensors is more .*or set protocol to http"):
        grpc_messages.prepare("m", {"x": np.zeros(100, np.uint8), "y": np.zeros(226, np.float32)}, ())
