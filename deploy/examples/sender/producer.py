"""`python producer.py` is `peekaping-producer send`: see docs/sender.md."""

import sys

from peekaping_producer.cli.entry import main

sys.argv.insert(1, "send")
sys.exit(main())
