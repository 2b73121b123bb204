"""Sums the NVTX ranges of the domain `batched` in what nsys exported, as a table in Markdown:

    nsys export --type=sqlite -o trace.sqlite trace.nsys-rep
    python3 scripts/profile/ranges.py trace.sqlite

One line per range and kind of thread: how often, how long in all, which part of the traced time that is (of one thread:
lanes together may be above 100 %), the mean, the median, and what the ranges carried (trace.h: rows, tokens, fill).
Ranges lie in each other: `settle` is part of `scatter`.
"""

import re
import sqlite3
import statistics
import sys

DOMAIN = "batched"
ORDER = ["admit", "form", "stage", "h2d", "run", "d2h", "scatter", "settle"]


def columns(database, table):
    return {row[1] for row in database.execute("PRAGMA table_info(%s)" % table)}


def read_ranges(database):
    """(name, thread name, start ns, duration ns, payload or None) of every closed range of the domain."""
    has = columns(database, "NVTX_EVENTS")
    if not has:
        raise SystemExit("there are no NVTX events in this file")
    domains = [
        row[0]
        for row in database.execute(
            "SELECT domainId FROM NVTX_EVENTS e LEFT JOIN StringIds s ON e.textId = s.id "
            "WHERE e.eventType = 75 AND coalesce(e.text, s.value) = ?",
            (DOMAIN,),
        )
    ]
    if not domains:
        raise SystemExit("no NVTX domain is called %s: was the addon built with NVTX's headers?" % DOMAIN)
    payload = "coalesce(e.uint64Value, e.int64Value)" if "uint64Value" in has else "NULL"
    threads = dict(database.execute("SELECT t.globalTid, s.value FROM ThreadNames t JOIN StringIds s ON t.nameId = s.id"))
    rows = database.execute(
        "SELECT coalesce(e.text, s.value), e.globalTid, e.start, e.end - e.start, %s "
        "FROM NVTX_EVENTS e LEFT JOIN StringIds s ON e.textId = s.id "
        "WHERE e.eventType = 59 AND e.end IS NOT NULL AND e.domainId IN (%s)" % (payload, ",".join("?" * len(domains))),
        domains,
    )
    return [(name, threads.get(thread, "?"), start, taken, value) for name, thread, start, taken, value in rows]


def carried(values):
    """Means of what the ranges carried, in words."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    if all(value >= 10**10 for value in values):
        rows = statistics.fmean(value // 10**10 for value in values)
        tokens = statistics.fmean(value // 1000 % 10**7 for value in values)
        fill = statistics.fmean(value % 1000 for value in values)
        return "%.1f rows, %.0f tokens, %.0f %% useful" % (rows, tokens, fill)
    return "%.1f" % statistics.fmean(values)


def table(ranges):
    span = max(start + taken for _, _, start, taken, _ in ranges) - min(start for _, _, start, _, _ in ranges)
    groups = {}
    for name, thread, _, taken, value in ranges:
        # Lanes are batched-cpu-0, batched-cpu-1 and so on: one kind.
        kind = re.sub(r"-\d+$", "-N", thread)
        groups.setdefault((name, kind), []).append((taken, value))
    place = {name: index for index, name in enumerate(ORDER)}
    lines = [
        "%.2f s between the first range and the end of the last." % (span / 1e9),
        "",
        "| range | thread | count | total ms | share | mean us | median us | carried, mean |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for (name, kind), entries in sorted(groups.items(), key=lambda item: (place.get(item[0][0], 99), item[0])):
        times = [taken for taken, _ in entries]
        total = sum(times)
        lines.append(
            "| %s | %s | %d | %.1f | %.1f %% | %.1f | %.1f | %s |"
            % (
                name,
                kind,
                len(times),
                total / 1e6,
                100 * total / span,
                total / len(times) / 1e3,
                statistics.median(times) / 1e3,
                carried([value for _, value in entries]),
            )
        )
    return "\n".join(lines)


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    database = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
    ranges = read_ranges(database)
    if not ranges:
        raise SystemExit("the domain %s has no ranges" % DOMAIN)
    print(table(ranges))


if __name__ == "__main__":
    main()
