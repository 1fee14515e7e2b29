"""What a stick does for each EZSP command: one function a command, from fields to fields.

Source: Silicon Labs UG100, chapters 4 to 11; which answers hosts insist on is told beside each.
"""

from __future__ import annotations

from emulator.ncp.commands import configuration, link_keys, messaging, networking, security, tokens
from emulator.ncp.commands.session import Handler, Session

COMMANDS: dict[str, Handler] = {
    **configuration.COMMANDS,
    **tokens.COMMANDS,
    **networking.COMMANDS,
    **security.COMMANDS,
    **link_keys.COMMANDS,
    **messaging.COMMANDS,
}

__all__ = ["COMMANDS", "Session"]
