"""One error base: what was wrong, where, what to do, and the exit code that says it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every `kakeya_remote` command (docs/cli.md)."""

    DONE = 0
    INTERNAL = 1
    USAGE = 2
    CANCELLED = 3
    REFUSED = 4  # every live runner declines by policy, or integrity is broken
    JOB_FAILED = 5
    GATE_FAILED = 6
    NO_RUNNER = 7
    STILL_RUNNING = 8
    LOST = 9
    INCONCLUSIVE = 10
    INTERRUPTED = 130


class KakeyaError(Exception):
    """Any failure that a person can cause or must act on.

    Args:
        message: what was wrong.
        where: the file, path in a document, ref or host it was found at.
        remedy: what to do next, best a command.
        problems: further findings of the same kind, each `path: message`.
    """

    exit_code: ExitCode = ExitCode.INTERNAL
    code = "internal"

    def __init__(
        self, message: str, *, where: str = "", remedy: str = "", problems: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.remedy = remedy
        self.problems = problems

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return "\n".join([head, *(f"  {line}" for line in self.problems)])

    def as_json(self) -> dict[str, object]:
        """The error as `--json` prints it."""
        return {
            "schema": "kakeya.error/1",
            "code": self.code,
            "exit_code": int(self.exit_code),
            "message": self.message,
            "where": self.where,
            "problems": list(self.problems),
            "remedy": self.remedy,
        }


class UsageError(KakeyaError):
    """A command, setting or file that a person wrote is wrong."""

    exit_code = ExitCode.USAGE
    code = "usage"


class ManifestError(UsageError):
    """A request, preset or param breaks its schema or bounds; `problems` names each at its path."""

    code = "manifest"


class RefusedError(KakeyaError):
    """The runner's policy, or every runner's, says no."""

    exit_code = ExitCode.REFUSED
    code = "refused"


class IntegrityError(KakeyaError):
    """Bytes, digests, signatures or a chain of records do not agree."""

    exit_code = ExitCode.REFUSED
    code = "integrity"


class TooLargeError(IntegrityError):
    """What somebody pushed is larger than this program takes."""

    code = "too-large"


class MissingArtifactError(IntegrityError):
    """An artifact is not on the bus, or not any more."""

    code = "missing-artifact"


class BusError(KakeyaError):
    """The git remote could not be reached, or answered in a way that cannot be used."""

    code = "bus"


class CacheError(BusError):
    """A disposable cache of the bus is damaged; deleting it loses nothing."""

    code = "cache"


class ExecutorError(KakeyaError):
    """The system that launches jobs (a process, a daemon, a scheduler) failed."""

    code = "executor"


class MissingPartError(UsageError):
    """A program, package or file that this step needs is not installed."""

    code = "missing-part"
