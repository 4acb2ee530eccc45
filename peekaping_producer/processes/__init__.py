"""Worker processes that receive commands and send replies."""
