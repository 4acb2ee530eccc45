"""What commands and pages show of the whole fleet: status, conditions, connectivity, the probe."""
