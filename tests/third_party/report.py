"""Reads what the suites left (JUnit XML and logs): one line for each, the failures, and `N passed, N failed`."""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

LINES = 25


def main(results: Path, suites: list[str]) -> int:
    passed = failed = 0
    for suite in suites:
        good, bad, skipped = read(results, suite)
        passed, failed = passed + good, failed + len(bad)
        seconds = (results / f"{suite}.seconds").read_text().strip()
        also = f", {sum(skipped.values())} skipped" if skipped else ""
        print(f"{suite}: {good} passed, {len(bad)} failed{also} ({seconds} s)")
        for why, count in skipped.items():
            print(f"  skipped {count}: {why}")
        for name, text in bad:
            lines = [line for line in text.strip().splitlines() if line.strip()]
            more = [f"… and {len(lines) - LINES} lines more in {results / suite}.log"] if len(lines) > LINES else []
            print(f"  FAILED {name}", *lines[:LINES], *more, sep="\n    ")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def read(results: Path, suite: str) -> tuple[int, list[tuple[str, str]], Counter[str]]:
    """How many passed, the name and the account of each that did not, and why how many were skipped."""
    try:
        cases = list(ElementTree.parse(results / f"{suite}.xml").getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        cases = []
    good, bad, skipped = set(), {}, Counter()
    for case in cases:
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        problems = [*case.iter("failure"), *case.iter("error")]
        if problems:
            bad[name] = "\n".join(problem.text or problem.get("message") or "" for problem in problems)
        elif (skip := case.find("skipped")) is not None:
            skipped[skip.get("message") or "for no reason given"] += 1
        else:
            good.add(name)
    if not cases:
        bad["(the whole suite)"] = (results / f"{suite}.log").read_text()[-3000:]
    # pytest reports a test that passed and whose clean-up failed twice.
    return len(good - bad.keys()), list(bad.items()), skipped


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
