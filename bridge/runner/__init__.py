"""The runner: claims what its owner allows, runs it, judges it, and writes one result for each."""
