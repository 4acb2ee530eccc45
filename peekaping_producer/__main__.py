"""`python -m peekaping_producer` is `peekaping-producer`."""

import sys

from peekaping_producer.cli.entry import main

sys.exit(main())
