"""Tasks of hibiken/asynq 0.25 on Redis: published and processed beside Go's clients and workers, on the same keys."""
