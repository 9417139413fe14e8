"""The bus: refs, commits and compare-and-swap on one git remote (bridge/PROTOCOL.md)."""
