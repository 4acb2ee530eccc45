"""`send`: posts the time to an API, retries, and exits."""
