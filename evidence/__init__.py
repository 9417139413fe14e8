"""Evidence: records, reducers, statistics, gates, verdicts, reports. Imports only the leaf."""
