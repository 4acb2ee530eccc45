"""The HTTP endpoint: probes and metrics."""
