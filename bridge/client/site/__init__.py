"""A bus as plain files: pages that need no server, drawn from what the bus holds now."""
