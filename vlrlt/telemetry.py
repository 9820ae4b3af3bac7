"""Switches off what dependencies report to their makers; `import vlrlt` does it, before any of them is imported.

Some report from native code that Python cannot watch, so tests/test_network.py traces system calls.
"""

import os

OFF = {
    "DO_NOT_TRACK": "1",  # https://consoledonottrack.com
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_XET_TELEMETRY_ENABLED": "0",
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime from 1.32 on: a device id, events, and its maker's name looked up
    "RAY_USAGE_STATS_ENABLED": "0",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
    "WANDB_ERROR_REPORTING": "false",
}
"""Environment variable -> its value for "off"."""


def switch_off() -> None:
    """Set every variable that the user has not set; child processes inherit them."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
