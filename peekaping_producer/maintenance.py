"""Maintenance windows: whether a monitor is under maintenance at an instant."""

import msgspec


class MaintenanceWindow(msgspec.Struct, frozen=True, gc=False):
    """One row of `maintenances`, as the API server stores it; empty text and NULL both mean "not set"."""

    id: str
    active: bool
    strategy: str
    start_date_time: str | None = None
    end_date_time: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    interval_day: int | None = None
    cron: str | None = None
    timezone: str | None = None
    duration: int | None = None
    """Minutes."""
