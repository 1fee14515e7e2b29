"""What a stick does for each EZSP command: one function a command, from fields to fields.

Source: Silicon Labs UG100, chapters 4 to 11; which answers hosts insist on is told beside each.
"""

from __future__ import annotations

from emulator.ncp.commands import (
    binding,
    cbke,
    children,
    configuration,
    link_keys,
    messaging,
    mfglib,
    networking,
    routing,
    security,
    tokens,
    trust_center,
)
from emulator.ncp.commands.session import Handler, Session

COMMANDS: dict[str, Handler] = {
    **configuration.COMMANDS,
    **tokens.COMMANDS,
    **networking.COMMANDS,
    **children.COMMANDS,
    **security.COMMANDS,
    **link_keys.COMMANDS,
    **trust_center.COMMANDS,
    **cbke.COMMANDS,
    **messaging.COMMANDS,
    **mfglib.COMMANDS,
    **routing.COMMANDS,
    **binding.COMMANDS,
}

__all__ = ["COMMANDS", "Session"]
