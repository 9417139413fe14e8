"""A runner as a service of its machine: systemd on Linux, launchd on macOS."""
