"""`python -m tg2em_scraper`."""

import sys

from tg2em_scraper.cli import main

sys.exit(main())
