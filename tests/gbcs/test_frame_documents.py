"""Any payload as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from payload_strategies import KINDS, payloads_of

from gbcs.codes import MESSAGES, build_payload
from hil.frame_documents import document_of, frame_of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_payload_as_json_is_the_same_payload(kind: type[Any]) -> None:
    message = next(row for row in MESSAGES.values() if kind in row.definition.kinds)

    @settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
    @given(payloads_of(kind))
    def check(payload: Any) -> None:
        document = {
            "message_code": f"{message.message_code:04X}",
            "cra": message.cra.name.lower(),
            "originator": "00DB1234567890A4",
            "recipient": "90B3D51F30000002",
            "originator_counter": 1,
            "payload": document_of(payload),
        }
        frame = frame_of(json.loads(json.dumps(document))).frame
        assert frame.payload == build_payload(payload)

    check()
