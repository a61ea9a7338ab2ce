"""`python -m grpolab` is `grpolab`."""

from grpolab.cli import main

raise SystemExit(main())
