"""`doctor`: examine Redis, the database, the fleet and the workers, and name what is not as it should be.

codes (findings and their remedies) · checks (runs them) · redis_group, database_group, fleet_group, workers_group (a
function for each check) · examination (all groups) · report (text and JSON).
"""
