"""What any service needs that runs loops: it knows no monitor, no Redis key and no database."""
