"""What differs between the database and the schedule: sync applies it, the command `reconcile` prints it.

find (the reads that both use) · guards (when sync does not accept the result of the database) · dry_run (find alone)
· request (asks the leader to sync) · text, document (output).
"""
