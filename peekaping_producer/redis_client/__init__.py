"""The Redis client: connections, Sentinel, errors, permissions, and Lua scripts."""
