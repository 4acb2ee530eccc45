"""The interface of servers and workers."""

from peekaping_producer import processes


class MessageWorker(processes.MessageWorker):
    """Has `receive_message` and `send_message`. What is added here as an abstract method, both must implement."""
