"""The requester's side: `Client` and what its methods return."""

from bridge.client.api import Client
from bridge.client.outcomes import JobStatus, Outcome, Submission
from bridge.client.results import Results

__all__ = ["Client", "JobStatus", "Outcome", "Results", "Submission"]
