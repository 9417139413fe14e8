"""`kakeya_remote doctor`: what keeps jobs from moving, and what to do."""

from __future__ import annotations

from typing import Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client
from bridge.cli.output import print_json, print_line, print_table
from bridge.errors import ExitCode


@click.command("doctor")
@bus_options()
def doctor_command(**given: Any) -> None:
    """Look for what keeps jobs from moving, from this machine's side.

    Ends 1 if a fault is found, and says what to do about each.

    \b
    Example:
      kakeya_remote doctor --bus /srv/git/kakeya-bus.git
    """
    from bridge import findings as found
    from bridge.client import doctor

    shared = merge_shared(given)
    with open_client(shared) as client:
        findings = doctor.examine(client)
    if shared["as_json"]:
        print_json(found.as_json(findings))
    else:
        rows = [(finding.level, finding.check, finding.text) for finding in findings]
        print_table("", ("", "check", "found"), rows)
        for finding in findings:
            if finding.remedy:
                print_line(f"{finding.level}: {finding.check}: {finding.remedy}")
    if not found.is_healthy(findings):
        raise SystemExit(int(ExitCode.INTERNAL))
