"""DUIS responses and alerts as `hanbench duis` shows them: lines for a reader, JSON for a script.

Source: ours; names are those of the elements, EUI-64s have 16 hexadecimal digits.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime

from lxml import etree

from dsp_stub.dcc_alerts import ALERTS
from dsp_stub.mmc import parsed_items, parsed_view
from dsp_stub.response_codes import meaning
from dsp_stub.responses import (
    Content,
    DccAlert,
    DccAlertMessage,
    DeviceAlertMessage,
    DspInventory,
    FirmwareWarning,
    FutureDatedDeviceAlert,
    GbcsPayload,
    InventoryDevice,
    LocalCommand,
    Message,
    PreCommand,
    Response,
    ResponseMessage,
    Unread,
)
from gbcs.codes import use_case
from gbcs.envelope import parse_frame
from gbcs.errors import GbcsError
from hil.alert_words import alert_devices, alert_words


def alert_element(alert: DccAlert) -> str:
    """The name of an alert's element."""
    return alert.element if isinstance(alert, Unread) else ALERTS[type(alert)].element


def message_devices(response: Response) -> tuple[int, ...]:
    """The devices a response or alert is about, as far as it says."""
    match response.message:
        case DccAlertMessage() as message:
            return alert_devices(message)
        case DeviceAlertMessage() as message:
            originator = _originator(message.gbcs_payload)
            return () if originator is None else (originator,)
        case ResponseMessage(content=DspInventory(devices)):
            return tuple(device.device_id for device in devices)
        case ResponseMessage():
            # Of a response to a command: its ResponseID is that of the device.
            return () if response.response_id is None else (response.response_id.originator,)


def message_title(message: Message) -> str:
    """What a message is, in a word or three."""
    match message:
        case ResponseMessage():
            return f"response {message.service_reference_variant}".rstrip()
        case DeviceAlertMessage():
            return f"device alert {message.alert_code:04X}"
        case DccAlertMessage():
            return f"{message.dcc_alert_code} {alert_element(message.alert)}"


def message_words(message: Message) -> str:
    """What is in a message, in one line."""
    match message:
        case ResponseMessage():
            return _content_words(message.content)
        case DeviceAlertMessage():
            return _frame_words(message.gbcs_payload)
        case DccAlertMessage():
            return alert_words(message)


def _content_words(content: Content | None) -> str:
    match content:
        case None:
            return ""
        case DspInventory():
            return f"{len(content.devices)} device(s)"
        case FirmwareWarning():
            return ", ".join(f"{name}: {len(ids)}" for name, ids in content.lists().items())
        case GbcsPayload() | LocalCommand() | PreCommand():
            return _frame_words(content.octets)
        case FutureDatedDeviceAlert():
            return f"{content.alert_code:04X} {_frame_words(content.octets)}"
        case Unread():
            return content.element


def _originator(octets: bytes) -> int | None:
    try:
        return parse_frame(octets).frame.originator
    except GbcsError:
        return None


def _payload(message: Message) -> bytes | None:
    """The GBCS message in a response or alert."""
    match message:
        case ResponseMessage(
            content=GbcsPayload(octets=octets)
            | LocalCommand(octets=octets)
            | PreCommand(octets=octets)
            | FutureDatedDeviceAlert(octets=octets)
        ):
            return octets
        case DeviceAlertMessage(gbcs_payload=octets):
            return octets
    return None


def _frame_words(octets: bytes) -> str:
    try:
        frame = parse_frame(octets).frame
    except GbcsError:
        return f"GBCS payload of {len(octets)} octets that is no frame"
    name = use_case(frame.message_code) or f"{frame.message_code:04X}"
    return f"{name} {frame.cra.name.lower()} of {frame.originator:016X}, {len(octets)} octets"


# -- for a reader ------------------------------------------------------------------------------


def one_line(response: Response) -> str:
    """What a response is, whose request it answers, and what is in it."""
    words = message_words(response.message)
    named = "" if response.request_id is None else f" {response.request_id}"
    return f"{message_title(response.message)}{named}{'  ' if words else ''}{words}"


def response_lines(response: Response) -> list[str]:
    """A response at length: its code first, then what is in it."""
    words = message_words(response.message)
    title = message_title(response.message)
    lines = [response.response_code, f"  {title}{': ' if words else ''}{words}"]
    if response.response_code[:1] in "EW" and (reason := meaning(response.response_code)):
        lines.append(f"  {reason}")
    for name, request_id in (("request", response.request_id), ("response", response.response_id)):
        if request_id is not None:
            lines.append(f"  {name} {request_id}")
    match response.message:
        case ResponseMessage(content=DspInventory(devices)):
            for device in devices:
                lines += _device_lines(device)
        case ResponseMessage(content=FirmwareWarning() as warning):
            for name, ids in warning.lists().items():
                lines += [f"  {name} {device:016X}" for device in ids]
    payload = _payload(response.message)
    if payload is not None:
        lines.append(f"  {payload.hex().upper()}")
        parsed = parsed_view(payload)
        if parsed is not None:
            lines += [f"  {name}: {text}" for name, text in parsed_items(parsed)]
    return lines


def _device_lines(device: InventoryDevice) -> list[str]:
    items = [
        (field.name, getattr(device, field.name))
        for field in fields(device)
        if field.name not in ("device_id", "device_type")
    ]
    shown = [f"    {name.replace('_', ' ')}: {text}" for name, text in items if text is not None]
    return [f"  {device.device_type} {device.device_id:016X}", *shown]


# -- for a script ------------------------------------------------------------------------------


def response_document(response: Response) -> dict[str, object]:
    """A response as one JSON object; what it has not is null."""
    message = response.message
    payload = _payload(message)
    parsed = None if payload is None else parsed_view(payload)
    kind, service, alert_code, element = "response", None, None, None
    match message:
        case ResponseMessage():
            service = message.service_reference_variant or None
        case DeviceAlertMessage():
            kind, alert_code = "device-alert", f"{message.alert_code:04X}"
        case DccAlertMessage():
            kind, alert_code = "dcc-alert", message.dcc_alert_code
            element = alert_element(message.alert)
    return {
        "kind": kind,
        "response_code": response.response_code,
        "request_id": None if response.request_id is None else str(response.request_id),
        "response_id": None if response.response_id is None else str(response.response_id),
        "time": _time(response.response_date_time),
        "service": service,
        "alert_code": alert_code,
        "element": element,
        "device_ids": [f"{device:016X}" for device in message_devices(response)],
        "detail": message_words(message),
        "payload": None if payload is None else payload.hex().upper(),
        "parsed": None if parsed is None else etree.tostring(parsed, encoding="unicode"),
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
