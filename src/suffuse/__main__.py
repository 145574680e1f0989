"""``python -m suffuse`` is ``suffuse``."""

from suffuse.cli import main

main()
