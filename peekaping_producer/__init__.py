"""An asyncio producer for Peekaping: claims monitors that are due and hands their checks to the workers."""
