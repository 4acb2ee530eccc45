from src.meta import *  # noqa: F403
