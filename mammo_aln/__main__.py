"""`python -m mammo_aln VERB` is `mammo-aln VERB`."""

import sys

from mammo_aln.cli import main

sys.exit(main())
