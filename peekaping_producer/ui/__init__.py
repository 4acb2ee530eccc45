"""The page: a web server of its own that shows the state of the fleet and of single monitors."""
