"""The command line: a thin face on `bridge.client` and `bridge.runner`."""
