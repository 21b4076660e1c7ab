"""Settings of this repository's own test runs; the fixtures come from pennon.testing.plugin."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

# A proxy of the environment must not stand between the tests and the loopback interface.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
# Tests say themselves which credentials and endpoints they mean.
for _name in [n for n in os.environ if n.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
    del os.environ[_name]

_COMMON: dict[str, Any] = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("default", max_examples=50, **_COMMON)
# The same examples each time: what refuses a change is the change. The others look for more.
settings.register_profile("ci", max_examples=100, derandomize=True, **_COMMON)
settings.register_profile("soak", max_examples=2000, **_COMMON)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
settings.load_profile(PROFILE)


def pytest_report_header() -> list[str]:
    from pennon.testing.services import describe

    rounds = os.environ.get("PENNON_RACE_ROUNDS", "20")
    return [
        *(f"pennon services: {name}: {what}" for name, what in describe().items()),
        f"pennon: hypothesis profile {PROFILE}, {rounds} rounds a race",
    ]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what tests noted with ``record_property("note", ...)``: measurements, not verdicts."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == "note":
                        terminalreporter.write_line(f"pennon: {value}")
