"""What a bench file says of radios that are real: `[radios]`.

Source: DESIGN, "The one seam"; ours. Nobody can tell an emulated stick at a port from one with an
aerial, so that whatever has a URL counts as real: it sends only where the file says so, and only on
the channels it names.

    [radios]            transmit = true
                        channels = [15, 20, 25]        (the quietest of them is taken)
                        sniffer = "/dev/ttyUSB2"       (a third stick, which listens)
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PlainValidator

from hil.toml_file import Table, Text

FIRST_CHANNEL, LAST_CHANNEL = 11, 26
CHANNEL = 15  # of an emulated air


def _read_channels(value: object) -> tuple[int, ...]:
    if not isinstance(value, list | tuple) or not value or len(set(value)) < len(value):
        raise ValueError
    for channel in value:
        if type(channel) is not int or not FIRST_CHANNEL <= channel <= LAST_CHANNEL:
            raise ValueError
    return tuple(value)


def _read_yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


YesOrNo = Annotated[bool, PlainValidator(_read_yes_or_no)]
Channels = Annotated[tuple[int, ...], PlainValidator(_read_channels)]


class RadioTable(Table):
    """Whether real radios may send, and where."""

    transmit: YesOrNo = Field(default=False, description="true or false")
    channels: Channels = Field(
        default=(),
        description=f"a list of different channels from {FIRST_CHANNEL} to {LAST_CHANNEL}",
    )
    sniffer: Text | None = Field(
        default=None,
        pattern=r"^(/|[a-z][a-z0-9+.-]*://)\S+$",
        description='the path of a serial port or a URL such as "tcp://lab3:4001"',
    )
