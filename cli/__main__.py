"""``python -m cli``: the same as the console command ``automations``."""

from cli.main import main

main()
