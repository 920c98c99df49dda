"""`python3 -m moorage.cli`."""

import sys

from moorage.cli.main import main

sys.exit(main())
