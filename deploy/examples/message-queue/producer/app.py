"""The producer: `python app.py` runs `peekaping-producer serve` with the settings of ../.env, if it exists."""

import sys
from pathlib import Path

from peekaping_producer.cli.entry import main

if __name__ == "__main__":
    env_file = Path(__file__).resolve().parents[1] / ".env"
    options = ["--env-file", str(env_file)] if env_file.exists() else []
    sys.argv[1:1] = ["serve", *options]
    sys.exit(main())
