"""The HTTP API of `serve`: accepts messages for a relay, and answers once the broker has confirmed them."""
