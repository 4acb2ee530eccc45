"""`doctor`: examine Redis, the database, the fleet and the workers, and name what is not as it should be.

codes (findings and their remedies) · examination (runs the groups) · redis_group, database_group, fleet_group,
workers_group (small functions, one for each check) · report (text and JSON).
"""
