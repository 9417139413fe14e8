"""`kakeya_remote logs`: a job's output."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import bus_options, merge_shared, open_client, resume_hint
from bridge.cli.output import escape_controls, say
from bridge.cli.watching import JsonWatcher, make_watcher
from bridge.errors import ExitCode

if TYPE_CHECKING:
    from bridge.client.logs import Chunk
    from bridge.client.waiting import Watcher


@click.command("logs")
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(1, 100), help="One attempt alone.")
@click.option("--raw", is_flag=True, help="The bytes as they are, on a terminal too.")
@bus_options()
def logs_command(job_id: str, follow: bool, attempt: int | None, raw: bool, **given: Any) -> None:
    """Print a job's output.

    On a terminal, control characters and escape sequences are written out rather than obeyed.
    With --json, one object for each chunk (NDJSON). With --follow, stderr tells how far the job is,
    as a bar on a terminal; with --json, objects on stdout do.

    \b
    Example:
      kakeya_remote logs 01JMG19Y00ABCDEFGHJKMNPQRS --follow
    """
    shared = merge_shared(given)
    watcher = JsonWatcher() if shared["as_json"] else make_watcher(quiet=not follow)
    with open_client(shared, watcher) as client:
        chunks = client.logs(job_id, attempt=attempt, follow=follow)
        try:
            if shared["as_json"]:
                print_chunks(chunks)
                return
            write = write_raw if raw or not sys.stdout.isatty() else write_escaped
            write(chunks, watcher)
        except KeyboardInterrupt:
            watcher.end()
            say(f"\nthe job goes on; {resume_hint(job_id, shared)}")
            raise SystemExit(int(ExitCode.INTERRUPTED)) from None
        finally:
            watcher.end()


def print_chunks(chunks: Iterable[Chunk]) -> None:
    """Each chunk as one JSON object; bytes that are no UTF-8 are replaced."""
    decoders: dict[int, codecs.IncrementalDecoder] = {}
    for chunk in chunks:
        decoder = decoders.setdefault(chunk.attempt, _decoder())
        told = {
            "schema": "kakeya.log-text/1",
            "attempt": chunk.attempt,
            "sequence": chunk.sequence,
            "text": decoder.decode(chunk.data),
        }
        sys.stdout.write(f"{json.dumps(told)}\n")  # where the reader is gone, following ends
        sys.stdout.flush()


def write_raw(chunks: Iterable[Chunk], watcher: Watcher) -> None:
    """The bytes as the job wrote them."""
    for chunk in chunks:
        watcher.end()  # a live line would be written into
        sys.stdout.buffer.write(chunk.data)
        sys.stdout.buffer.flush()
        if chunk.data.endswith(b"\n"):
            watcher.begin()


def write_escaped(chunks: Iterable[Chunk], watcher: Watcher) -> None:
    """Text in which nothing can move the cursor, change colours or hide."""
    decoder = _decoder()
    for chunk in chunks:
        watcher.end()
        sys.stdout.write(clean_output(decoder.decode(chunk.data)))
        sys.stdout.flush()
        if chunk.data.endswith(b"\n"):
            watcher.begin()


def clean_output(text: str) -> str:
    """A job's text for a terminal; a carriage return, as bars write it, becomes a new line."""
    return escape_controls(text.replace("\r\n", "\n").replace("\r", "\n"))


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")
