"""The domain, without I/O: monitors, maintenance windows, cron, time zones, tasks."""
