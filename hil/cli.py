"""The command `hanbench`.

Source: DESIGN, "What it promises to the outside" (exit codes): 0 all verdicts pass, 1 a verdict
fails, 2 the request is wrong, 3 the bench broke, 130 interrupted. Every error is one sentence.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import click

from hil.campaign_commands import campaign_group
from hil.cpl_list_commands import cpl_group
from hil.dsp_command import dsp_command
from hil.duis_commands import duis_group
from hil.errors import HanbenchError
from hil.frame_commands import frame_group
from hil.hub_command import hub_command
from hil.image_commands import image_group
from hil.pki_commands import pki_group
from hil.radio_command import radio_command
from hil.report_command import report_group
from hil.run_command import run_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("hanbench"), prog_name="hanbench")
def cli() -> None:
    """A bench for over-the-air firmware updates of GB smart-metering HAN devices."""


cli.add_command(run_command)
cli.add_command(radio_command)
cli.add_command(dsp_command)
cli.add_command(hub_command)
cli.add_command(campaign_group)
cli.add_command(duis_group)
cli.add_command(cpl_group)
cli.add_command(image_group)
cli.add_command(frame_group)
cli.add_command(pki_group)
cli.add_command(report_group)


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
