"""The command `hanbench`.

Source: DESIGN, "What it promises to the outside" (exit codes): 0 all verdicts pass, 1 a verdict
fails, 2 the request is wrong, 3 the bench broke, 130 interrupted. Every error is one sentence.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version

import click

from hil.errors import HanbenchError

# What a command needs is imported when it is asked for: zigpy and bellows alone take as long as
# most commands run.
COMMANDS = {
    "run": "hil.run_command:run_command",
    "verify": "hil.verify_command:verify_command",
    "init": "hil.init_command:init_command",
    "check": "hil.check_command:check_command",
    "report": "hil.report_command:report_group",
    "radio": "hil.radio_command:radio_command",
    "dsp": "hil.dsp_command:dsp_command",
    "hub": "hil.hub_command:hub_command",
    "device": "hil.device_command:device_command",
    "campaign": "hil.campaign_commands:campaign_group",
    "duis": "hil.duis_commands:duis_group",
    "cpl": "hil.cpl_list_commands:cpl_group",
    "image": "hil.image_commands:image_group",
    "frame": "hil.frame_commands:frame_group",
    "pki": "hil.pki_commands:pki_group",
}


class Hanbench(click.Group):
    """A group whose commands are modules that are not there yet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's own name
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, name = place.split(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Hanbench, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hanbench"), prog_name="hanbench")
def cli() -> None:
    """A bench for over-the-air firmware updates of GB smart-metering HAN devices."""


def main() -> None:
    """Entry point: errors become one sentence and an exit code."""
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"hanbench: {' '.join(error.format_message().split())}", err=True)
        sys.exit(error.exit_code)
    except HanbenchError as error:
        click.echo(f"hanbench: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
