"""A step of a sequence is what tritonclient would have sent: only the id and the flags differ."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.load.load_plan import PlannedClass, PlannedSequence
from harness.load.process.sequences import drawn, ids
from harness.load.sequence_flags import END_ID, FIRST_ID, NOBODYS, as_step, parameters, places
from harness.load.wire import prepare
from harness.schema.scenario import Protocol
from harness.schema.sequence_length import SequenceLength
from harness.schema.tensors import Tensors

INPUTS: Tensors = {"x": np.arange(6, dtype=np.float32).reshape(1, 6)}
IDS = st.integers(FIRST_ID, END_ID - 1)


@given(IDS, st.booleans(), st.booleans())
def test_over_http_the_json_says_it_and_the_tensors_stay(sequence_id: int, first: bool, last: bool) -> None:
    made = prepare("http", "m", INPUTS, ["y"], "h:1", parameters={**parameters(), "own": 3})
    where = places("http", made)
    head, _, body = bytes(as_step(made, where, sequence_id, first=first, last=last)).partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    size = int(fields["Inference-Header-Content-Length"])
    assert int(fields["Content-Length"]) == len(body)
    said = json.loads(body[:size])
    assert said["parameters"] == {
        "sequence_id": sequence_id,
        "sequence_start": first,
        "sequence_end": last,
        "own": 3,
    }
    assert body[size:] == struct.pack("<6f", *range(6))


@given(IDS, st.booleans(), st.booleans())
def test_over_grpc_the_message_is_tritonclients(sequence_id: int, first: bool, last: bool) -> None:
    from tritonclient.grpc import service_pb2

    made = prepare("grpc", "m", INPUTS, ["y"], "h:1", parameters=parameters())
    step = bytes(as_step(made, places("grpc", made), sequence_id, first=first, last=last))
    found = service_pb2.ModelInferRequest.FromString(step)
    wanted = service_pb2.ModelInferRequest.FromString(made)
    assert wanted.parameters["sequence_id"].int64_param == NOBODYS
    wanted.parameters["sequence_id"].int64_param = sequence_id
    wanted.parameters["sequence_start"].bool_param = first
    wanted.parameters["sequence_end"].bool_param = last
    assert found == wanted


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_request_that_is_no_step_has_no_places(protocol: Protocol) -> None:
    with pytest.raises(ValueError, match="not found"):
        places(protocol, prepare(protocol, "m", INPUTS, ["y"], "h:1"))


def planned(name: str, weight: float, sequence: PlannedSequence, variants: int = 6) -> PlannedClass:
    return PlannedClass(name=name, weight=weight, requests=((0, 1),) * variants, sequence=sequence)


def test_sequences_are_of_their_lengths_and_classes_and_all_processes_together_send_them_once() -> None:
    between = SequenceLength(length=10, variation=0.3).between()
    classes = [
        planned("any", 3, PlannedSequence(between=between)),
        planned("streams", 1, PlannedSequence(between=None, streams=((0, 2), (2, 4)))),
    ]
    alone = drawn(classes, seed=7)
    one = [next(alone) for _ in range(400)]
    shares = [drawn(classes, 7, worker, 3) for worker in range(3)]
    assert [next(shares[number % 3]) for number in range(400)] == one
    lengths = {len(each.variants) for each in one if each.request_class == 0}
    assert lengths == set(range(7, 14))
    streams = {tuple(each.variants) for each in one if each.request_class == 1}
    assert streams == {(0, 1), (2, 3, 4, 5)}
    assert 0.68 < sum(each.request_class == 0 for each in one) / len(one) < 0.82


def test_a_stream_that_is_shorter_than_the_length_begins_again() -> None:
    between = SequenceLength(length=5, variation=0).between()
    classes = [planned("s", 1, PlannedSequence(between=between, streams=((3, 2),)))]
    assert next(drawn(classes, seed=1)).variants == [3, 4, 3, 4, 3]


def test_ids_have_the_width_that_is_prepared() -> None:
    own = ids()
    several = [next(own) for _ in range(5)]
    assert several == list(range(several[0], several[0] + 5)) and FIRST_ID < several[0] < END_ID - 5
