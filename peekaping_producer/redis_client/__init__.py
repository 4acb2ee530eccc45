"""The Redis client: connections, Sentinel, errors, rights, and Lua scripts."""
