"""Writes the Lua scripts as the server gets them, for luacheck: `… expanded_scripts DIRECTORY`."""

from __future__ import annotations

import sys
from pathlib import Path

from trigger_celery.engine.scripts import SCRIPTS

if __name__ == "__main__":
    for name, script in SCRIPTS.scripts.items():
        Path(sys.argv[1], f"{name}.lua").write_bytes(script.text)
