"""Real servers on loopback, each started for a test and ended by its process number."""
