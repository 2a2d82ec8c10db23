"""Generated aggregates and what Apache Spark answers; run by `tests/rig/readers python`.

    aggregates.py --seed 16 --write tests/oracle/aggregates    makes the calls and asks Spark for each
    aggregates.py --seed 16 --list                             prints the calls only

Every call is over the same rows, in the same order (`input.json`): groups of rows by null patterns and extremes. A file of answers is JSON
lines, the first of which names the settings: `["call", "type", "name of its column", {"group": "value as Spark's CAST(… AS STRING) writes it"}]`;
binary as hex, an error as `{"!": "ERROR_CLASS"}`. The group `none` is the call over no rows and without GROUP BY. A refusal is
`["call", "?", "ERROR_CLASS", {}]`.

`queries.json` has whole queries: `["query", "columns as DDL", [[value, …], …]]` with the rows in the order of their texts (with ORDER BY as
they came), or `["query", "?", "ERROR_CLASS"]`.
"""
import argparse
import json
import os
import random
import tempfile
from pathlib import Path

from expressions import error_class, session

COLUMNS = {
    "b": "TINYINT", "s": "SMALLINT", "i": "INT", "l": "BIGINT", "f": "FLOAT", "d": "DOUBLE", "x": "DOUBLE", "y": "DOUBLE", "m": "DECIMAL(5,2)", "mm": "DECIMAL(38,18)", "mh": "DECIMAL(38,0)", "md": "DECIMAL(10,3)",
    "o": "BOOLEAN", "t": "STRING", "n": "STRING", "z": "BINARY", "da": "DATE", "ts": "TIMESTAMP", "tn": "TIMESTAMP_NTZ", "a": "ARRAY<INT>", "r": "STRUCT<p: INT, q: STRING>", "h": "INT", "w": "BIGINT",
}
# By group: the values of its rows, column by column, from which rows are drawn; a column that is not named has the ordinary ones.
ORDINARY = {
    "b": [1, 2, -3, 100, None], "s": [7, -300, 12, None, 7], "i": [5, 5, -2, 9, None, 1000000], "l": [1, 2, 3, -4, 10**12, None], "f": [0.5, 1.25, -3.75, 0.1, None], "d": [0.1, 0.2, 0.3, 2.5, -1.75, None, 1e10],
    "x": [1.0, 2.5, 3.1, 4.7, 5.9, None], "y": [2.1, 3.3, 1.2, 8.8, None, 0.4], "m": ["1.25", "999.99", "-0.01", "3.33", None], "mm": ["1.000000000000000001", "-2.5", "12345678901234567890.5", None],
    "mh": ["1", "-7", "123456789012345678901234567890", None], "md": ["0.001", "2.500", "-1.125", "1234567.891", None], "o": [True, False, None], "t": ["a", "b", "B", "", "zz", None, "é"],
    "n": ["1", "2.5", "-3", " 4 ", None], "z": ["", "AA==", "/w==", None, "AAE="], "da": ["2024-02-29", "1969-12-31", None, "2024-03-01"], "ts": ["2024-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", None, "2024-02-29T12:34:56.789123Z"],
    "tn": ["2024-01-01T00:00:00", None, "2024-02-29T12:34:56.789"], "a": [[1, 2], [1, None], [], None, [2]], "r": [{"p": 1, "q": "x"}, {"p": 1, "q": None}, {"p": None, "q": "a"}, None], "h": [1, 2, 3, 0], "w": [1, 2, 1, 5],
}
GROUPS = {
    "mixed": (12, {}),
    "many": (70, {}),
    "one": (1, {name: [next(v for v in values if v is not None)] for name, values in ORDINARY.items()}),
    "nulls": (3, {name: [None] for name in ORDINARY if name not in ("h", "w")}),
    "same": (5, {name: [next(v for v in reversed(values) if v is not None)] for name, values in ORDINARY.items()}),
    "zeros": (6, {"f": [0.0, -0.0], "d": [-0.0, 0.0], "x": [0.0, -0.0], "y": [-0.0, 0.0], "m": ["0.00"], "mm": ["0"], "mh": ["0"], "md": ["0.000"], "b": [0], "s": [0], "i": [0], "l": [0], "n": ["0", "-0"]}),
    "floats": (9, {"f": ["NaN", "Infinity", "-Infinity", 3.4028235e38, 1.0, None], "d": ["NaN", "Infinity", "-Infinity", 1.7976931348623157e308, 4.9e-324, 1.0, None], "x": ["NaN", 1.0, 2.0], "y": [1.0, "Infinity", 3.0], "n": ["NaN", "1e3", "Infinity"]}),
    "nan": (4, {"f": ["NaN"], "d": ["NaN"], "x": ["NaN"], "y": ["NaN"]}),
    "infinite": (4, {"f": ["Infinity"], "d": ["-Infinity"], "x": ["Infinity"], "y": ["Infinity"]}),
    "over": (4, {"b": [127], "s": [32767], "i": [2147483647], "l": [9223372036854775807], "mm": ["99999999999999999999.999999999999999999"], "mh": ["99999999999999999999999999999999999999"], "m": ["999.99"], "md": ["9999999.999"]}),
    "under": (3, {"b": [-128], "s": [-32768], "i": [-2147483648], "l": [-9223372036854775808], "mm": ["-99999999999999999999.999999999999999999"], "mh": ["-99999999999999999999999999999999999999"], "m": ["-999.99"], "md": ["-9999999.999"]}),
    "texts": (6, {"n": ["x", "1"], "t": ["x", "X", "xx", " x"]}),
    "line": (8, {"x": [1.0, 2.0, 3.0, 4.0], "y": [3.0, 5.0, 7.0, 9.0]}),
}
NUMBERS = ["b", "s", "i", "l", "f", "d", "m", "mm", "mh", "md", "n"]
ALL = [name for name in COLUMNS if name not in ("h", "w", "x", "y")]
ANY = ALL + ["h"]
FRACTIONS = ["0.5", "0.0", "1.0", "0.25", "0.1D", "0.33", "array(0.0, 0.5, 1.0)", "array(0.25D)", "1"]


QUERIES = [
    "SELECT d, count(*) AS n FROM input GROUP BY d", "SELECT f, x, count(*) AS n, min(h) AS lo FROM input GROUP BY f, x", "SELECT DISTINCT d FROM input WHERE g IN ('zeros', 'nan', 'floats', 'one')", "SELECT DISTINCT x, y FROM input WHERE g = 'zeros' OR g = 'nan'",
    "SELECT array(d) AS a, count(*) AS n FROM input GROUP BY array(d)", "SELECT struct(d, o) AS s, count(*) AS n FROM input GROUP BY struct(d, o)", "SELECT CASE WHEN h > 1 THEN map('a', 1, 'b', 2) ELSE map('b', 2, 'a', 1) END AS m, count(*) AS n FROM input GROUP BY CASE WHEN h > 1 THEN map('a', 1, 'b', 2) ELSE map('b', 2, 'a', 1) END",
    "SELECT g, h, count(*) AS n FROM input GROUP BY 1, 2", "SELECT h + 1 AS hh, count(*) AS n FROM input GROUP BY hh", "SELECT h % 2, sum(i) FROM input GROUP BY h % 2 HAVING sum(i) > 10", "SELECT g, max(h) FROM input GROUP BY ALL", "SELECT h, g, max(w) + 1 FROM input GROUP BY ALL", "SELECT upper(t), count(1) FROM input GROUP BY upper(t)",
    "SELECT g, count(*) FROM input GROUP BY g HAVING count(*) > 5 AND max(h) > 1", "SELECT count(*) FROM input HAVING count(*) > 1000", "SELECT g FROM input GROUP BY g HAVING sum(h) > 3", "SELECT g, sum(h) AS s FROM input GROUP BY g HAVING s > 3", "SELECT G, COUNT(*) FROM INPUT GROUP BY g", "SELECT input.g, max(input.h) FROM input GROUP BY input.g",
    "SELECT g, h, count(*) AS n, grouping(g) AS gg, grouping(h) AS gh, grouping_id() AS gi, grouping_id(g, h) AS gi2 FROM input GROUP BY ROLLUP(g, h)", "SELECT o, h, sum(i) AS s FROM input GROUP BY CUBE(o, h)", "SELECT o, h, count(d) AS c FROM input GROUP BY GROUPING SETS ((o), (h), ())", "SELECT o, h, count(*) AS n FROM input GROUP BY o, h WITH ROLLUP", "SELECT o, h, count(*) AS n, grouping_id() FROM input GROUP BY o, h WITH CUBE",
    "SELECT d, grouping(d) AS gd, count(*) AS n FROM input WHERE g IN ('zeros', 'nan', 'floats') GROUP BY ROLLUP(d)", "SELECT o, count(*) AS n FROM input GROUP BY ROLLUP(o) HAVING grouping(o) = 1", "SELECT grouping(g) FROM input GROUP BY g",
    "SELECT g, s FROM (SELECT g, h, sum(i) AS s FROM input GROUP BY g, h) WHERE s > 5", "SELECT max(s) FROM (SELECT g, sum(i) AS s FROM input GROUP BY g)", "SELECT g, (SELECT max(h) FROM input) AS m, count(*) AS n FROM input GROUP BY g", "SELECT a.g, n FROM (SELECT DISTINCT g FROM input) a JOIN (SELECT g, count(*) AS n FROM input GROUP BY g) b ON a.g = b.g",
    "SELECT g FROM input GROUP BY g HAVING every(h >= 0) ORDER BY g LIMIT 3", "SELECT g, count(*) AS n FROM input GROUP BY g ORDER BY n DESC, g LIMIT 4", "SELECT g, sum(h) AS s FROM input GROUP BY g ORDER BY sum(h) DESC, g", "SELECT tag, count(*) AS n FROM (SELECT explode(a) AS tag FROM input) GROUP BY tag", "SELECT count(DISTINCT g), count(DISTINCT g, h), sum(DISTINCT h), max(w) FROM input",
    "SELECT g, count(*) AS n FROM input WHERE false GROUP BY g", "SELECT CAST(ts AS DATE), count(*) FROM input GROUP BY CAST(ts AS DATE)", "SELECT date_trunc('MONTH', ts) AS m, min(ts), max(ts) FROM input GROUP BY 1", "SELECT g, collect_list(struct(h, w)) AS l FROM input WHERE h > 2 GROUP BY g", "SELECT sum(h) AS s, s + 1 AS t FROM input", "SELECT count(*) AS n, count(*) + 1 AS m, sum(h) / count(*) AS a FROM input",
    "SELECT t.g, t.n FROM (SELECT g, count(*) AS n FROM input GROUP BY g) t WHERE t.n = (SELECT max(n) FROM (SELECT count(*) AS n FROM input GROUP BY g))", "SELECT g, first(i) AS a, last(i) AS z FROM input GROUP BY g", "SELECT CASE WHEN sum(h) > 5 THEN 'many' ELSE 'few' END AS c, g FROM input GROUP BY g", "SELECT concat(g, '-', max(h)) FROM input GROUP BY g", "WITH c AS (SELECT g, avg(x) AS a FROM input GROUP BY g) SELECT count(a) FROM c", "SELECT z, r, count(*) AS n FROM input GROUP BY z, r", "SELECT mh, md, count(*) AS n FROM input GROUP BY mh, md", "SELECT g, h FROM input GROUP BY g, h HAVING count(*) > 3",
    "SELECT g, h FROM input GROUP BY g", "SELECT g FROM input GROUP BY count(*)", "SELECT sum(count(*)) FROM input", "SELECT g, count(*) FROM input GROUP BY 3", "SELECT count(*) FROM input WHERE count(*) > 1", "SELECT *, count(*) FROM input GROUP BY g", "SELECT g, count(*) AS n FROM input GROUP BY n", "SELECT g FROM input HAVING h > 1", "SELECT sum(h) FROM input GROUP BY g ORDER BY h", "SELECT nosuch(h) FROM input GROUP BY g", "SELECT DISTINCT g FROM input ORDER BY h",
]


def whole(spark, query):
    try:
        frame = spark.sql(query)
    except Exception as error:
        return [query, "?", error_class(error)]
    columns = ", ".join(f"`{field.name}` {field.dataType.simpleString()}" for field in frame.schema)
    shown = [f"hex(`{f.name}`)" if f.dataType.simpleString() == "binary" else f"CAST(`{f.name}` AS STRING)" for f in frame.schema]
    rows = [list(row) for row in frame.selectExpr(*shown).collect()]
    return [query, columns, rows if "ORDER BY" in query else sorted(rows, key=json.dumps)]


def families(rng):
    """By file: settings and calls."""
    each = lambda templates, columns: [t.replace("{}", c) for t in templates for c in columns]
    sums = each(["sum({})", "avg({})", "try_sum({})", "try_avg({})", "mean({})"], NUMBERS + ["o", "da", "a"]) + each(["sum(DISTINCT {})", "avg(DISTINCT {})"], NUMBERS) + each(["sum({}) FILTER (WHERE h > 1)", "avg({}) FILTER (WHERE o)"], NUMBERS)
    sums += ["sum(1)", "sum(NULL)", "avg(NULL)", "sum()", "sum(i, l)", "sum(i + 1)", "sum(i * l)", "sum(CASE WHEN o THEN 1 ELSE 0 END)", "sum(1.5)", "avg(m * 2)", "sum(m) + avg(l)", "coalesce(sum(i), 0)", "sum(CAST(l AS DECIMAL(20,0)))", "sum(l % 1000)", "sum(d) / count(d)"]
    counts = ["count(*)", "count(1)", "count(NULL)", "count()", "count(*) FILTER (WHERE i > 2)", "count(DISTINCT i, t)", "count(DISTINCT i) + count(DISTINCT t)", "count(i, l)", "count(i, t, z)", "count_if(o)", "count_if(i > 2)", "count_if(n)", "count_if(i)", "count(*) + 1", "count(DISTINCT o) FILTER (WHERE h > 1)"] + each(["count({})", "count(DISTINCT {})"], ALL)
    extremes = each(["min({})", "max({})"], ALL) + each(["min({}) FILTER (WHERE h = 2)", "max(DISTINCT {})"], rng.sample(ALL, 8)) + each(["bool_and({})", "bool_or({})", "every({})", "some({})", "any({})"], ["o", "n", "i"]) + each(["bit_and({})", "bit_or({})", "bit_xor({})"], ["b", "s", "i", "l", "d", "n", "m"])
    extremes += ["max(map('a', i))", "min(NULL)", "max(i) - min(i)", "max(struct(i, t))", "min(array(d, x))", "max(upper(t))", "bit_xor(DISTINCT i)", "max(ts) > min(ts)", "max(i, l)"]
    picks = each(["first({})", "last({})", "any_value({})", "first({}, true)", "last({}) IGNORE NULLS", "first_value({} IGNORE NULLS)"], rng.sample(ALL, 12)) + each(["max_by({}, i)", "min_by(t, {})", "max_by(t, {})", "min_by({}, d)"], ALL)
    picks += ["first(t, false)", "last_value(i, true)", "first(i) RESPECT NULLS", "any_value(t, true)", "max_by(t, map('a', 1))", "max_by(t)", "max_by(i, struct(h, i))", "first(i) + last(i)", "first(d) FILTER (WHERE h = 3)", "first(t, i)"]
    moments = each(["stddev({})", "variance({})", "skewness({})", "kurtosis({})"], NUMBERS + ["x", "o"]) + each(["std({})", "stddev_samp({})", "stddev_pop({})", "var_samp({})", "var_pop({})"], ["i", "d", "x", "m", "n"])
    pairs = ["x, y", "y, x", "i, l", "d, x", "m, x", "n, y", "x, x", "i, o"]
    moments += [f"{f}({p})" for f in ("corr", "covar_pop", "covar_samp", "regr_count", "regr_avgx", "regr_avgy", "regr_sxx", "regr_syy", "regr_sxy", "regr_slope", "regr_intercept", "regr_r2") for p in (pairs if f.startswith("c") else pairs[:3])]
    moments += ["stddev(DISTINCT i)", "variance(x) FILTER (WHERE h > 1)", "corr(x, y) FILTER (WHERE h > 1)", "stddev(NULL)", "corr(x)", "sqrt(var_pop(x)) - stddev_pop(x)", "kurtosis(DISTINCT x)", "covar_pop(DISTINCT x, y)"]
    collects = each(["collect_list({})", "array_agg({})", "sort_array(collect_set({}))", "size(collect_set({}))"], ALL) + each(["sort_array(collect_list(DISTINCT {}))"], ["i", "d", "t", "r"])
    collects += ["collect_list(struct(i, t))", "collect_list(NULL)", "collect_list(i) FILTER (WHERE h > 1)", "collect_set(map('a', i))", "collect_list(map('a', i))", "array_join(collect_list(t), '-')", "size(collect_list(i))", "element_at(collect_list(t), -1)", "collect_list(i, l)", "sort_array(collect_set(struct(d, i)))", "collect_list(a)", "sort_array(collect_set(a))"]
    collects += ["listagg(t, ',') WITHIN GROUP (ORDER BY t)", "listagg(t) WITHIN GROUP (ORDER BY t DESC)", "string_agg(t, '-') WITHIN GROUP (ORDER BY t)", "listagg(t, ',')", "listagg(t)", "listagg(DISTINCT t, ',') WITHIN GROUP (ORDER BY t)", "listagg(z) WITHIN GROUP (ORDER BY z)", "listagg(i, ';') WITHIN GROUP (ORDER BY i)", "listagg(t, NULL) WITHIN GROUP (ORDER BY t)", "listagg(t, t)"]
    distinct = each(["approx_count_distinct({})"], ANY + ["x"]) + [f"approx_count_distinct({c}, {e})" for c in ("i", "d", "t") for e in ("0.01", "0.39", "0.1D", "0.03", "0.5", "0.05")]
    distinct += ["approx_count_distinct(concat(t, i, h))", "approx_count_distinct(r)", "approx_count_distinct(map('a', 1))", "approx_count_distinct(i) FILTER (WHERE h > 1)", "approx_count_distinct(i, h)", "approx_count_distinct(NULL)", "approx_count_distinct(DISTINCT i)"]
    percentiles = [f"percentile({c}, {p})" for c in NUMBERS for p in rng.sample(FRACTIONS, 3)] + [f"percentile({c}, {p}, {w})" for c in ("i", "d", "m") for p in ("0.5", "array(0.1, 0.9)") for w in ("w", "h", "2")] + each(["median({})"], NUMBERS + ["da"])
    percentiles += [f"{f}({p}) WITHIN GROUP (ORDER BY {c}{o})" for f in ("percentile_cont", "percentile_disc") for c in ("i", "d", "x", "m") for p, o in (("0.5", ""), ("0.25", " DESC"), ("0.0", ""), ("1.0", ""), ("0.7", " DESC"), ("array(0.1, 0.6)", ""))]
    percentiles += [f"{f}({c}, {p})" for f in ("approx_percentile", "percentile_approx") for c in ("b", "i", "l", "f", "d", "m", "md", "da", "ts", "n", "o") for p in ("0.5", "array(0.25, 0.5, 0.9)")] + [f"approx_percentile({c}, {p}, {n})" for c in ("i", "d") for p in ("0.5", "0.0", "1.0", "array(0.1, 0.9)") for n in ("1", "2", "5", "100", "10000L")]
    percentiles += ["percentile(i, 1.5)", "percentile(i, h)", "percentile(i, NULL)", "percentile(i, -0.1)", "percentile(i, 0.5, -1)", "approx_percentile(i, 0.5, 0)", "approx_percentile(i, 2)", "approx_percentile(i, 0.5, h)", "median(DISTINCT i)", "percentile(DISTINCT x, 0.25)", "percentile(i, 0.5) FILTER (WHERE h > 1)", "median(x + 1)", "percentile(t, 0.5)"]
    modes = each(["mode({}, true)"], ALL) + each(["mode() WITHIN GROUP (ORDER BY {})", "mode() WITHIN GROUP (ORDER BY {} DESC)"], ["i", "d", "t", "m", "ts"]) + ["mode(h, true)", "mode(NULL)", "mode(map('a', 1))", "mode(1)", "mode(i, t)"]
    files = {"count": counts, "sum": sums, "extreme": extremes, "pick": picks, "moments": moments, "collect": collects, "distinct": distinct, "percentile": percentiles, "mode": modes}
    for name, calls in files.items():
        yield name, {}, list(dict.fromkeys(calls))
    lenient = each(["sum({})", "avg({})", "try_sum({})", "stddev({})", "max({})", "approx_percentile({}, 0.5)", "percentile({}, 0.5)"], NUMBERS) + ["count_if(n)", "bool_and(n)", "sum(i / h)", "sum(10 / (h - 1))", "avg(CAST(t AS INT))", "corr(n, x)", "sum(i * 100000)"]
    yield "lenient", {"spark.sql.ansi.enabled": "false"}, lenient


def rows(rng):
    """The rows of all groups, shuffled together; what they hold is JSON."""
    made = []
    for group, (count, special) in GROUPS.items():
        of = {name: list(special.get(name, values)) for name, values in ORDINARY.items()}
        places = {name: rng.sample(range(len(values)), len(values)) for name, values in of.items()}
        for at in range(count):
            row = {"g": group}
            for name, values in of.items():
                drawn = values[places[name][at % len(values)]] if count <= 2 * len(values) else rng.choice(values)
                if group == "line" and name == "y":
                    drawn = None if row.get("x") is None else 2 * row["x"] + 1
                if drawn is not None:
                    row[name] = drawn
            if group == "many":
                row.update(i=rng.randint(-50, 50), x=round(rng.gauss(10, 4), 3), y=round(rng.gauss(0, 1), 4), l=rng.randint(-10**6, 10**6), d=rng.uniform(-1, 1))
            made.append(row)
    rng.shuffle(made)
    return made


def ddl():
    return "g STRING, " + ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())


def collected(spark, call, kind, where):
    shown = "hex(r)" if kind == "binary" else "CAST(r AS STRING)"
    group, key = (" GROUP BY g", "g") if where is None or where.startswith("g") else ("", "'none' AS g")
    text = f"SELECT {key}, {call} AS r FROM input" + (f" WHERE {where}" if where else "") + group
    return {row[0]: row[1] for row in spark.sql(text).selectExpr("g", f"{shown} AS r").collect()}


def answer(spark, call, groups):
    try:
        frame = spark.sql(f"SELECT g, {call} FROM input GROUP BY g")
    except Exception as error:
        return [call, "?", error_class(error), {}]
    kind, name = frame.schema[1].dataType.simpleString(), frame.schema[1].name
    answers = {}
    try:
        answers.update(collected(spark, call, kind, None))
    except Exception:
        for group in groups:
            try:
                answers.update(collected(spark, call, kind, f"g = '{group}'"))
            except Exception as error:
                answers[group] = {"!": error_class(error)}
    try:
        answers.update(collected(spark, call, kind, "false"))
    except Exception as error:
        answers["none"] = {"!": error_class(error)}
    return [call, kind, name, dict(sorted(answers.items()))]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seed", type=int, default=16)
    arguments.add_argument("--write", type=Path)
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--only", default="", help="families, separated by commas; the others stay as they are")
    asked = arguments.parse_args()
    rng = random.Random(asked.seed)
    input_rows, files = rows(rng), list(families(rng))
    if asked.list:
        print("\n".join(call for _, _, calls in files for call in calls))
        return
    folder = asked.write.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.json").write_text(json.dumps({"ddl": ddl(), "rows": [json.dumps(row, ensure_ascii=False) for row in input_rows]}, ensure_ascii=False, indent=0) + "\n")
    with tempfile.TemporaryDirectory(prefix="alluvia-spark-") as scratch:
        os.chdir(scratch)
        Path("rows.json").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in input_rows))
        spark = session(scratch)
        spark.read.schema(ddl()).json("rows.json").coalesce(1).createOrReplaceTempView("input")
        assert spark.sql("SELECT count(*) FROM input WHERE d = double('NaN') AND g = 'nan'").collect()[0][0] == 4
        for name, settings, calls in files:
            if asked.only and name not in asked.only.split(","):
                continue
            for key, value in settings.items():
                spark.conf.set(key, value)
            lines = [{"seed": asked.seed, "conf": settings}] + [answer(spark, call, GROUPS) for call in calls]
            for key in settings:
                spark.conf.set(key, "true")
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
            print(f"{name}: {len(calls)} calls", flush=True)
        if not asked.only or "queries" in asked.only.split(","):
            (folder / "queries.json").write_text("[\n" + ",\n".join(json.dumps(whole(spark, query), ensure_ascii=False) for query in QUERIES) + "\n]\n")
        spark.stop()


if __name__ == "__main__":
    main()
