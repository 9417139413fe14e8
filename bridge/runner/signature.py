"""Who signed a request: its own signature, or one over the campaign's plan that it is a cell of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bridge import wire
from bridge.bus.chain import Chain
from bridge.bus.commits import SIGNATURE
from bridge.bus.course import PLAN, PLAN_SIGNATURE
from bridge.cells import check_member
from bridge.errors import IntegrityError
from bridge.plans import Campaign
from bridge.signing import verify_request


def find_signer(chain: Chain, read: Callable[[str], bytes], allowed_signers: Path) -> str:
    """The listed name of whoever signed a request.

    Args:
        chain: the job.
        read: the content of a blob of its commits.
        allowed_signers: the runner's own list.

    Raises:
        IntegrityError: nobody listed did, or the plan that was signed does not say this request.
    """
    files = chain.files
    if SIGNATURE in files:
        return verify_request(read(files["request.json"]), read(files[SIGNATURE]), allowed_signers)
    if PLAN not in files or PLAN_SIGNATURE not in files or chain.request is None:
        raise IntegrityError("the request is not signed")
    data = read(files[PLAN])
    signer = verify_request(data, read(files[PLAN_SIGNATURE]), allowed_signers)
    plan: Campaign = wire.parse("campaign", data, where=PLAN)
    check_member(chain.request, plan)
    return signer
