"""`python -m process_supervisor`: see cli/main.py."""

import sys

from process_supervisor.cli.main import main

sys.exit(main())
