"""What the scenarios of messages share: RabbitMQ and its peers, and the processes that they measure."""
