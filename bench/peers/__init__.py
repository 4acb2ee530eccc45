"""Services that the bench compares with. They run in an environment of their own: see `environment.py`."""
