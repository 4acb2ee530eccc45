"""RabbitMQ by AMQP 0-9-1: the only package that uses aiormq."""
