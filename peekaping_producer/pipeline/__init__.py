"""The processes that relay and consume messages: built from settings, started, watched, drained."""
