"""What several workloads need: job files, samples, models, attention, decoding, needles."""
