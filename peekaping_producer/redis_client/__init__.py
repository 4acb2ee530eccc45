"""The Redis client: connections, Sentinel, failures, rights, and Lua scripts."""
