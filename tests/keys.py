"""Runner keys for tests, made anew in each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge.bus.commits import runner_identity
from bridge.objects import Identity
from bridge.runner.key import RunnerKey, load_key
from bridge.signers import Keyring, read_keyring


@dataclass(frozen=True)
class Hand:
    """A runner's name and key."""

    name: str
    key: RunnerKey

    @property
    def identity(self) -> Identity:
        """What it writes signed commits as."""
        return runner_identity(self.name, self.key.sign)

    def as_runner(self, name: str) -> Identity:
        """What it writes as, if it signs in another runner's name."""
        return runner_identity(name, self.key.sign)


def make_hand(folder: Path, name: str) -> Hand:
    """A runner called `name` with a new key below `folder`."""
    return Hand(name, load_key(folder / f"{name}-{len(list(folder.glob('*')))}", name))


def enrol(*hands: Hand, revoked: tuple[Hand, ...] = (), required: bool = False) -> Keyring:
    """The keyring that lists these runners."""
    signers = "".join(f"{hand.key.public}\n" for hand in hands)
    gone = "".join(f"{hand.key.public.split(' ', 1)[1]}\n" for hand in revoked)
    return read_keyring(signers, gone, required=required)
