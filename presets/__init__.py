"""The allowlist: presets, their params, and the assets they name."""
