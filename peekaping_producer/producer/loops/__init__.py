"""What a replica does at the same time, one module for each loop."""
