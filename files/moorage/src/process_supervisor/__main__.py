"""`python -m process_supervisor`: see cli.py."""

import sys

from process_supervisor.cli import main

sys.exit(main())
