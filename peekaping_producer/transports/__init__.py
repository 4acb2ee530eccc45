"""Message systems, one module or package for each: RabbitMQ, asynq on Redis, HTTP. Knows no monitor and no schedule."""
