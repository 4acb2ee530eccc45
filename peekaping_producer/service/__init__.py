"""What any service with background loops needs, whatever it serves."""
