"""The gate language: typed rules over metrics, five verdicts (docs/gates.md)."""
