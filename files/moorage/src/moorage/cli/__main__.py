"""`python3 -m moorage.cli`."""

import sys

from moorage.cli import asked

if asked.concerns(sys.argv[1:]):
    sys.exit(asked.main(sys.argv[1:]))

from moorage.cli.main import main

sys.exit(main())
