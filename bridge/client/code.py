"""Whether a runner will find the code commit of a request, and sending it there by name."""

from __future__ import annotations

from bridge.bus.requester import RequesterBus
from bridge.client.checkout import Checkout
from bridge.errors import BusError, UsageError


def check_code(bus: RequesterBus, checkout: Checkout | None, commit: str) -> None:
    """Make sure that a runner can get `commit`: from the bus, or out of its trusted checkout.

    Raises:
        UsageError: no runner could get it.
        BusError: the bus does not answer.
    """
    if bus.holds_code(commit):
        return
    for tip in bus.beats().values():
        beat = bus.read_beat(tip)
        if beat is not None and _reaches(checkout, commit, beat.facts.trusted):
            return
    raise UsageError(
        f"commit {commit} is neither on the bus nor part of what a runner trusts",
        where="--code",
        remedy="add --push-code to send it to the bus by name, or push its branch there yourself",
    )


def push_code(bus: RequesterBus, checkout: Checkout | None, commit: str) -> str:
    """Send `commit` and its history to `<root>/code/<commit>`; returns that ref.

    Raises:
        UsageError: the commit is not in this checkout.
        BusError: the remote does not take it.
    """
    if checkout is None or checkout.git.resolve(commit) is None:
        raise UsageError(
            f"commit {commit} is not in this checkout, so it cannot be pushed from here",
            where="--push-code",
            remedy="fetch it first, or run this where it is",
        )
    ref = bus.refs.code(commit)
    reply = checkout.git.push(bus.url, [(ref, None, commit)], atomic=False)
    refused = next((line for line in reply.lines if line.flag == "!"), None)
    if refused is not None or reply.status:
        why = refused.summary if refused else reply.stderr.strip()[:300]
        shallow = "shallow" in f"{why}{reply.stderr}"
        raise BusError(
            f"the remote does not take the code commit: {why}",
            where=ref,
            remedy="complete this clone first: git fetch --unshallow"
            if shallow
            else "check that this machine may push below the bus's root",
        )
    return ref


def _reaches(checkout: Checkout | None, commit: str, trusted: str) -> bool:
    if checkout is None or checkout.git.resolve(trusted) is None:
        return commit == trusted
    return checkout.git.is_ancestor(commit, trusted)
