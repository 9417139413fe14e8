"""A verifier whose evicted K/V are restored: by a projection of a drafter's, or from its own."""
