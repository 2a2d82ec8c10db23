"""Generated expressions and what Apache Spark answers; run by `tests/rig/readers python`.

    expressions.py --seed 15 --write tests/oracle/expressions    makes the expressions and asks Spark for each
    expressions.py --seed 15 --list                              prints the expressions only
    expressions.py --seed 15 --names FILE                        asks Spark for the columns' names: of one expression of each form
    expressions.py --functions                                   prints the names of Spark's built-in functions

Every expression is over one row of columns that hold the extremes of each type (`input.json`). A file of answers is JSON lines, the
first of which names the settings: `["expression", "type", "value as Spark's CAST(… AS STRING) writes it"]`; binary as hex. A refusal is
`["expression", "!", "ERROR_CLASS"]` while it runs and `["expression", "?", "ERROR_CLASS"]` when it is analysed.
"""
import argparse
import json
import logging
import os
import random
import re
import tempfile
from pathlib import Path

# name, type, value as from_json reads it
COLUMNS = [
    ("b_0", "TINYINT", 0), ("b_5", "TINYINT", 5), ("b_m", "TINYINT", -7), ("b_max", "TINYINT", 127), ("b_min", "TINYINT", -128), ("b_n", "TINYINT", None),
    ("s_3", "SMALLINT", 3), ("s_max", "SMALLINT", 32767), ("s_min", "SMALLINT", -32768), ("s_n", "SMALLINT", None),
    ("i_0", "INT", 0), ("i_1", "INT", 1), ("i_2", "INT", 2), ("i_7", "INT", 7), ("i_m", "INT", -3), ("i_max", "INT", 2147483647), ("i_min", "INT", -2147483648), ("i_n", "INT", None),
    ("l_0", "BIGINT", 0), ("l_1", "BIGINT", 1), ("l_5", "BIGINT", 5), ("l_m", "BIGINT", -12), ("l_max", "BIGINT", 9223372036854775807), ("l_min", "BIGINT", -9223372036854775808), ("l_n", "BIGINT", None),
    ("l_ts", "BIGINT", 1704067200), ("l_ms", "BIGINT", 1704067200123),
    ("f_0", "FLOAT", 0.0), ("f_h", "FLOAT", 0.5), ("f_1", "FLOAT", 1.25), ("f_m", "FLOAT", -3.7), ("f_max", "FLOAT", 3.4028235e38), ("f_t", "FLOAT", 0.1), ("f_nan", "FLOAT", "NaN"), ("f_inf", "FLOAT", "Infinity"), ("f_n", "FLOAT", None),
    ("d_0", "DOUBLE", 0.0), ("d_z", "DOUBLE", -0.0), ("d_h", "DOUBLE", 2.5), ("d_1", "DOUBLE", 1.0), ("d_m", "DOUBLE", -7.25), ("d_t", "DOUBLE", 0.1), ("d_big", "DOUBLE", 1e20), ("d_max", "DOUBLE", 1.7976931348623157e308), ("d_tiny", "DOUBLE", 4.9e-324),
    ("d_nan", "DOUBLE", "NaN"), ("d_inf", "DOUBLE", "Infinity"), ("d_ninf", "DOUBLE", "-Infinity"), ("d_n", "DOUBLE", None), ("d_long", "DOUBLE", 123456789.98765433),
    ("m52", "DECIMAL(5,2)", 123.45), ("m52m", "DECIMAL(5,2)", -999.99), ("m52n", "DECIMAL(5,2)", None), ("m10", "DECIMAL(10,0)", 1234567890), ("m182", "DECIMAL(18,2)", "9999999999999999.99"),
    ("m3818", "DECIMAL(38,18)", "12345678901234567890.123456789012345678"), ("m380", "DECIMAL(38,0)", "99999999999999999999999999999999999999"), ("m11", "DECIMAL(1,1)", 0.5), ("mh", "DECIMAL(6,3)", 2.500), ("mhm", "DECIMAL(6,3)", -2.500), ("m0", "DECIMAL(10,2)", 0),
    ("bo_t", "BOOLEAN", True), ("bo_f", "BOOLEAN", False), ("bo_n", "BOOLEAN", None),
    ("st_e", "STRING", ""), ("st_a", "STRING", "a"), ("st_abc", "STRING", "Hello World"), ("st_num", "STRING", "42"), ("st_nsp", "STRING", " 42 "), ("st_neg", "STRING", "-7"), ("st_dec", "STRING", "12.75"), ("st_exp", "STRING", "1e3"),
    ("st_true", "STRING", "true"), ("st_yes", "STRING", "Yes"), ("st_date", "STRING", "2024-02-29"), ("st_ts", "STRING", "2024-02-29 12:34:56.789"), ("st_tz", "STRING", "2024-02-29T12:34:56+02:00"), ("st_uni", "STRING", "żółć🙂e"), ("st_csv", "STRING", "a,b,,c"),
    ("st_n", "STRING", None), ("st_big", "STRING", "99999999999999999999"), ("st_sp", "STRING", "  trim me  "), ("st_rep", "STRING", "foo-123 bar-45"), ("st_over", "STRING", "2147483648"), ("st_pct", "STRING", "50%_x"), ("st_nan", "STRING", "NaN"), ("st_hex", "STRING", "1F"),
    ("bi_e", "BINARY", ""), ("bi_h", "BINARY", "SGVsbG8="), ("bi_x", "BINARY", "AAH/gA=="), ("bi_n", "BINARY", None),
    ("da_e", "DATE", "1970-01-01"), ("da_l", "DATE", "2024-02-29"), ("da_31", "DATE", "2023-12-31"), ("da_old", "DATE", "0001-01-01"), ("da_max", "DATE", "9999-12-31"), ("da_1582", "DATE", "1582-10-10"), ("da_n", "DATE", None),
    ("ts_e", "TIMESTAMP", "1970-01-01T00:00:00Z"), ("ts_l", "TIMESTAMP", "2024-02-29T12:34:56.789123Z"), ("ts_31", "TIMESTAMP", "2023-01-31T23:59:59.5Z"), ("ts_old", "TIMESTAMP", "0001-01-01T00:00:00Z"), ("ts_max", "TIMESTAMP", "9999-12-31T23:59:59.999999Z"), ("ts_dst", "TIMESTAMP", "2024-03-10T07:30:00Z"), ("ts_neg", "TIMESTAMP", "1969-12-31T23:59:59.999999Z"), ("ts_n", "TIMESTAMP", None),
    ("tn_l", "TIMESTAMP_NTZ", "2024-02-29T12:34:56.789"), ("tn_e", "TIMESTAMP_NTZ", "1970-01-01T00:00:00"), ("tn_n", "TIMESTAMP_NTZ", None),
    ("a_i", "ARRAY<INT>", [3, 1, 2, None, 3]), ("a_j", "ARRAY<INT>", [2, 5]), ("a_e", "ARRAY<INT>", []), ("a_n", "ARRAY<INT>", None), ("a_s", "ARRAY<STRING>", ["b", "a", None, "c"]), ("a_t", "ARRAY<STRING>", ["x", "y", "x"]), ("a_d", "ARRAY<DOUBLE>", [1.5, "NaN", -0.0, 0.0]),
    ("a_a", "ARRAY<ARRAY<INT>>", [[1, 2], [3]]), ("a_an", "ARRAY<ARRAY<INT>>", [[1, 2], None]), ("a_o", "ARRAY<STRUCT<a: INT, b: STRING>>", [{"a": 2, "b": "x"}, {"a": 1, "b": None}, None]),
    ("mp_i", "MAP<STRING, INT>", {"a": 1, "b": None, "c": 3}), ("mp_e", "MAP<STRING, INT>", {}), ("mp_n", "MAP<STRING, INT>", None), ("mp_s", "MAP<STRING, STRING>", {"k": "v", "z": "26"}),
    ("o", "STRUCT<a: INT, b: STRING, c: STRUCT<d: DOUBLE>>", {"a": 1, "b": "x", "c": {"d": 2.5}}), ("o_n", "STRUCT<a: INT, b: STRING, c: STRUCT<d: DOUBLE>>", None), ("o_h", "STRUCT<a: INT, b: STRING, c: STRUCT<d: DOUBLE>>", {"a": None, "b": "y", "c": None}),
    ("j_o", "STRING", '{"a":1,"b":{"c":[1,2,{"d":"x"}]},"s":"te\\"xt","n":null,"f":1.50,"t":true}'), ("j_a", "STRING", '[{"a":1},{"a":2}]'), ("j_bad", "STRING", '{"a":'), ("j_m", "STRING", '{"x":1,"y":2}'),
    ("u_1", "STRING", "https://user:pw@example.com:8080/p/a/t/h%20x?query=1&k=v%20w#ref"), ("u_2", "STRING", "http://spark.apache.org/path?q=1&q=2"), ("u_e", "STRING", "a b+c%20d&é"),
]

BY_TYPE = {}
for _name, _type, _ in COLUMNS:
    BY_TYPE.setdefault(_type, []).append(_name)
STARTS = lambda *heads: [n for n, _, _ in COLUMNS if n.split("_")[0] in heads]
DECIMALS = [n for n, t, _ in COLUMNS if t.startswith("DECIMAL")]
INTEGRAL = STARTS("b", "s", "i", "l")
FRACTION = STARTS("f", "d")
CLASSES = {
    "N": INTEGRAL + FRACTION + DECIMALS, "I": INTEGRAL, "i": STARTS("i"), "L": STARTS("l"), "b": STARTS("b"), "D": FRACTION, "d": STARTS("d"), "M": DECIMALS,
    "S": STARTS("st"), "NS": INTEGRAL + FRACTION + DECIMALS + ["st_num", "st_nsp", "st_neg", "st_dec", "st_exp", "st_a", "st_n", "st_big"],
    "B": STARTS("bo"), "Y": STARTS("bi"), "DA": STARTS("da"), "TS": STARTS("ts"), "TN": STARTS("tn"), "T": STARTS("da", "ts", "tn"),
    "AI": ["a_i", "a_j", "a_e", "a_n"], "AS": ["a_s", "a_t"], "A": [n for n in STARTS("a")], "AA": ["a_a", "a_an"], "MP": STARTS("mp"), "MI": ["mp_i", "mp_e", "mp_n"], "O": ["o", "o_n", "o_h"],
    "J": STARTS("j"), "U": STARTS("u"), "ATOM": [n for n, t, _ in COLUMNS if "<" not in t and not n.startswith(("j_", "u_"))], "ANY": [n for n, _, _ in COLUMNS],
    "n": ["-2147483648", "-3", "-1", "0", "1", "2", "3", "5", "10", "100", "2147483647"], "p": ["0", "1", "2", "3", "5"],
    "unit": ["'YEAR'", "'quarter'", "'MONTH'", "'MM'", "'WEEK'", "'DAY'", "'dd'", "'HOUR'", "'MINUTE'", "'second'", "'MILLISECOND'", "'MICROSECOND'", "'bogus'"],
    "CMP": ["=", "<>", "<", "<=", ">", ">=", "<=>"], "OP": ["+", "-", "*", "/", "%", "DIV"], "BIT": ["&", "|", "^"],
    "TYPE": ["TINYINT", "SMALLINT", "INT", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL(5,2)", "DECIMAL(10,0)", "DECIMAL(38,18)", "DECIMAL(20,5)", "STRING", "BOOLEAN", "DATE", "TIMESTAMP", "TIMESTAMP_NTZ", "BINARY"],
    "NEST": ["ARRAY<STRING>", "ARRAY<BIGINT>", "MAP<STRING, STRING>", "MAP<STRING, DOUBLE>", "STRING", "STRUCT<a: STRING, b: STRING, c: STRING>", "STRUCT<x: BIGINT, y: STRING, z: STRUCT<w: INT>>"],
    "pat": ["'yyyy-MM-dd'", "'yyyy-MM-dd HH:mm:ss'", "'dd/MM/yy'", "'EEE, d MMM yyyy HH:mm:ss.SSS'", "'hh:mm a'", "'yyyyMMddHHmmss'", "'D'", "'DDD'", "'QQQ yyyy'", "'MMMM EEEE'", "'XXX'", "'VV z'", "'H:m:s.SSSSSS'", "'Q q'", "'O'", "'G y'", "'kk K'", "'u'", "'YYYY'", "'qqq'", "'xxx Z'", "'F'"],
    "zone": ["'UTC'", "'America/New_York'", "'Europe/Berlin'", "'+05:30'", "'Asia/Tokyo'", "'PST'", "'bogus/zone'"],
    "re": ["'[0-9]+'", "'([a-z]+)-([0-9]+)'", "'o'", "'^'", "'(?i)HELLO'", "'\\\\d'", "'.'", "''", "'(x)?'", "'\\\\s+'", "'[aeiou]{1,2}'", "'(?<w>\\\\w+) '"],
    "gp": ["0", "1", "2", "3", "-1"],
    "iv": ["INTERVAL 1 DAY", "INTERVAL '90' MINUTE", "INTERVAL 1 MONTH", "INTERVAL '1-2' YEAR TO MONTH", "INTERVAL '1 02:03:04.5' DAY TO SECOND", "INTERVAL -3 WEEK", "INTERVAL 100 YEAR", "INTERVAL 0 SECOND", "INTERVAL 1 HOUR 30 MINUTES"],
    "part": ["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "DAYOFWEEK", "DOW", "DOY", "HOUR", "MINUTE", "SECOND", "YEAROFWEEK", "DAYOFWEEK_ISO"],
    "tu": ["MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"],
    "path": ["'$.a'", "'$.b.c'", "'$.b.c[2].d'", "'$.b.c[*]'", "'$'", "'$.s'", "'$.n'", "'$.f'", "'$.zzz'", "'$[1].a'", "'$[*].a'", "'$.b.c[9]'", "'a'", "'$[\\'a\\']'", "'$.*'", "'$.b'", "'$.t'"],
    "up": ["'HOST'", "'PATH'", "'QUERY'", "'REF'", "'PROTOCOL'", "'FILE'", "'AUTHORITY'", "'USERINFO'", "'bogus'"],
}

# The part of the numbers below that is drawn.
SHARE = 0.66

# (template, how many of it are drawn)
FAMILIES = {
    "arithmetic": [
        ("{NS} {OP} {NS}", 640), ("{N} {OP} {n}", 130), ("{M} {OP} {M}", 130), ("-{N}", 30), ("+{NS}", 8), ("{N} * 0.5", 14), ("{N} + 1.25D", 10), ("mod({N}, {N})", 20), ("pmod({N}, {N})", 40), ("abs({N})", 30),
        ("try_add({N}, {N})", 30), ("try_subtract({N}, {N})", 30), ("try_multiply({N}, {N})", 30), ("try_divide({N}, {N})", 30), ("negative({N})", 10), ("positive({N})", 6), ("({N} + {N}) * {N} - {N}", 40),
    ],
    "comparison": [
        ("{NS} {CMP} {NS}", 170), ("{ATOM} {CMP} {ATOM}", 150), ("{S} {CMP} {S}", 14), ("{T} {CMP} {T}", 40), ("{S} {CMP} {T}", 24), ("{A} {CMP} {A}", 14), ("{O} {CMP} {O}", 8), ("{N} BETWEEN {N} AND {N}", 20), ("{NS} IN ({NS}, {N}, NULL)", 24),
        ("greatest({N}, {N}, {N})", 40), ("least({N}, {N}, {N})", 40), ("greatest({S}, {S})", 8), ("least({T}, {T})", 10), ("NOT {B}", 3), ("{B} AND {B}", 9), ("{B} OR {B}", 9), ("{ATOM} IS NULL", 8), ("{ATOM} IS NOT NULL", 8), ("{B} IS TRUE", 3), ("{B} IS NOT FALSE", 3), ("{B} IS UNKNOWN", 2),
    ],
    "cast": [("CAST({ATOM} AS {TYPE})", 840), ("try_cast({ATOM} AS {TYPE})", 140), ("CAST({A} AS {NEST})", 20), ("CAST({MP} AS {NEST})", 12), ("CAST({O} AS {NEST})", 12), ("{ATOM}::{TYPE}", 10)],
    "conditional": [
        ("CASE WHEN {B} THEN {N} ELSE {N} END", 30), ("CASE {i} WHEN {i} THEN {S} WHEN {i} THEN {S} END", 16), ("if({B}, {N}, {NS})", 24), ("coalesce({N}, {N}, {N})", 30), ("coalesce({ATOM}, {ATOM})", 24), ("nvl({N}, {N})", 16), ("nvl2({ATOM}, {S}, {S})", 8),
        ("nullif({N}, {N})", 20), ("ifnull({ATOM}, {ATOM})", 14), ("isnull({ATOM})", 6), ("isnotnull({ATOM})", 6), ("nanvl({D}, {D})", 14), ("isnan({D})", 10), ("CASE WHEN {i} > 1 THEN 10 / ({i} - 1) ELSE 0 END", 8), ("coalesce({i}, 1 DIV 0)", 5), ("nullifzero({N})", 6), ("zeroifnull({N})", 6),
    ],
    "math": [
        ("round({N}, {n})", 60), ("round({N})", 30), ("bround({N}, {p})", 30), ("bround({N})", 14), ("floor({N})", 34), ("ceil({N})", 34), ("ceiling({N})", 6), ("floor({M}, {p})", 12), ("ceil({D}, {p})", 12), ("sign({N})", 16), ("signum({D})", 8), ("sqrt({N})", 16), ("cbrt({d})", 10), ("exp({d})", 10), ("expm1({d})", 8),
        ("ln({N})", 14), ("log({N})", 6), ("log({N}, {N})", 16), ("log10({N})", 10), ("log2({N})", 10), ("log1p({d})", 8), ("pow({N}, {N})", 30), ("power({d}, {p})", 6), ("sin({d})", 6), ("cos({d})", 6), ("tan({d})", 6), ("asin({d})", 6), ("acos({d})", 6), ("atan({d})", 6), ("atan2({d}, {d})", 12), ("sinh({d})", 6), ("cosh({d})", 6), ("tanh({d})", 6),
        ("degrees({d})", 6), ("radians({d})", 6), ("hypot({d}, {d})", 8), ("rint({d})", 8), ("factorial({I})", 14), ("greatest({d}, {n})", 6), ("width_bucket({d}, 0.0D, 10.0D, 5)", 8), ("pi() + {d}", 3), ("e() * {d}", 3), ("cot({d})", 4), ("sec({d})", 3), ("csc({d})", 3), ("asinh({d})", 5), ("acosh({d})", 5), ("atanh({d})", 5),
    ],
    "bitwise": [
        ("{I} {BIT} {I}", 60), ("~{I}", 14), ("shiftleft({i}, {p})", 10), ("shiftright({I}, {n})", 16), ("shiftrightunsigned({i}, {p})", 8), ("shiftleft({L}, {n})", 10), ("bit_count({I})", 14), ("bit_count({B})", 2), ("bit_get({I}, {p})", 12), ("getbit({I}, {p})", 4), ("{i} << {p}", 5), ("{L} >> {p}", 5), ("{i} >>> {p}", 4),
        ("bin({L})", 8), ("hex({L})", 9), ("hex({S})", 8), ("hex({Y})", 4), ("unhex({S})", 10), ("conv({S}, 10, 16)", 8), ("conv({S}, 16, -10)", 8), ("conv('ff', {p}, 10)", 4),
    ],
    "string": [
        ("upper({S})", 10), ("lower({S})", 10), ("ucase({S})", 2), ("lcase({S})", 2), ("length({S})", 10), ("length({Y})", 4), ("char_length({S})", 4), ("character_length({S})", 2), ("len({S})", 2), ("octet_length({S})", 5), ("bit_length({S})", 5), ("trim({S})", 6), ("ltrim({S})", 4), ("rtrim({S})", 4), ("btrim({S})", 4), ("btrim({S}, 'ae ')", 4), ("trim(BOTH 'a' FROM {S})", 4), ("trim(LEADING ' ' FROM {S})", 3), ("trim(TRAILING 'd' FROM {S})", 3),
        ("reverse({S})", 8), ("initcap({S})", 10), ("lpad({S}, {p}, '*')", 12), ("rpad({S}, {p}, 'xy')", 12), ("lpad({S}, 8)", 6), ("rpad({S}, 8, '')", 4), ("repeat({S}, {p})", 10), ("substring({S}, {n}, {n})", 50), ("substring({S}, {n})", 16), ("substr({S}, {n}, {p})", 10), ("substring({Y}, {n}, {p})", 8), ("left({S}, {n})", 10), ("right({S}, {n})", 10), ("substring({S} FROM {p} FOR {p})", 6),
        ("concat({S}, {S})", 10), ("concat({S}, {ATOM}, {S})", 20), ("{S} || {ATOM}", 14), ("concat_ws('-', {S}, {S}, {AS})", 10), ("concat_ws({S}, {S}, {S})", 6), ("split_part({S}, ',', {n})", 14), ("replace({S}, 'a', 'zz')", 6), ("replace({S}, ' ')", 3), ("translate({S}, 'aelo', 'AE')", 6), ("instr({S}, {S})", 10), ("locate('o', {S}, {n})", 10), ("locate({S}, {S})", 6), ("position('l' IN {S})", 4), ("position('l', {S}, {p})", 4), ("charindex('o', {S})", 2),
        ("startswith({S}, {S})", 8), ("endswith({S}, {S})", 8), ("contains({S}, {S})", 8), ("substring_index({S}, ',', {n})", 12), ("ascii({S})", 8), ("chr({L})", 8), ("char({p})", 3), ("space({p})", 3), ("levenshtein({S}, {S})", 10), ("levenshtein({S}, {S}, {p})", 6), ("soundex({S})", 8), ("overlay({S} PLACING '__' FROM {p})", 6), ("overlay({S} PLACING 'xyz' FROM {p} FOR {p})", 6), ("overlay({S}, '_', {n}, {n})", 8),
        ("format_number({N}, {p})", 26), ("format_number({d}, '##,##0.00')", 5), ("format_string('%s-%05d', {S}, {i})", 8), ("format_string('%.2f|%10s|%-5s|', {d}, {S}, {S})", 6), ("format_string('%x %X %o %c %b %e', {i}, {L}, {i}, {i}, {B}, {d})", 6), ("printf('%d%%', {I})", 5), ("elt({p}, {S}, {S})", 8), ("find_in_set('b', {S})", 4), ("find_in_set({S}, 'a,b,,c')", 4), ("encode({S}, 'UTF-8')", 4), ("decode({Y}, 'UTF-8')", 3), ("decode({i}, 1, 'one', 2, 'two', 'other')", 6), ("encode({S}, 'utf-16be')", 2),
        ("base64({Y})", 4), ("unbase64(base64({Y}))", 4), ("unbase64('SGVsbG8=')", 1), ("to_binary({S}, 'utf-8')", 3), ("to_binary('537061', 'hex')", 1), ("sentences('Hi there! Bye.')", 1), ("ilike({S}, 'H%')", 4), ("like({S}, '%o%')", 4), ("{S} LIKE '50!%!_x' ESCAPE '!'", 3), ("{S} LIKE '%\\\\%%'", 3), ("{S} LIKE '_e%'", 4), ("{S} NOT LIKE 'a%'", 4), ("{S} ILIKE '%WORLD'", 3), ("luhn_check({S})", 4), ("is_valid_utf8({Y})", 3), ("mask({S})", 8), ("mask({S}, 'Q', 'q', 'd', 'o')", 3), ("to_char({M}, '999999.99')", 4), ("to_number('1,234.5', '9,999.9')", 1), ("quote({S})", 3), ("collate({S}, 'UTF8_BINARY')", 1), ("validate_utf8({S})", 2), ("randstr(3, 0) IS NULL", 1),
    ],
    "datetime": [
        ("year({T})", 14), ("month({T})", 12), ("day({T})", 12), ("dayofmonth({T})", 4), ("hour({TS})", 8), ("minute({TS})", 8), ("second({TS})", 8), ("hour({TN})", 3), ("hour({S})", 6), ("dayofweek({T})", 12), ("weekday({T})", 12), ("dayofyear({T})", 12), ("weekofyear({T})", 14), ("quarter({T})", 10), ("extract({part} FROM {T})", 40), ("date_part('{part}', {T})", 14), ("datepart('{part}', {T})", 4), ("dayname({T})", 6), ("monthname({T})", 6), ("year({S})", 6),
        ("date_trunc({unit}, {TS})", 50), ("date_trunc({unit}, {TN})", 10), ("date_trunc({unit}, {DA})", 10), ("trunc({DA}, {unit})", 30), ("trunc({S}, 'MM')", 5), ("date_add({DA}, {n})", 26), ("date_sub({DA}, {n})", 20), ("dateadd({DA}, {p})", 4), ("date_add({TS}, {p})", 6), ("date_add({S}, {p})", 6), ("{DA} + {p}", 8), ("{DA} - {p}", 8), ("{DA} - {DA}", 12), ("datediff({T}, {T})", 16), ("date_diff({DA}, {DA})", 5), ("add_months({DA}, {n})", 20), ("last_day({DA})", 7), ("last_day({TS})", 3), ("next_day({DA}, 'MON')", 7), ("next_day({DA}, 'thursday')", 5), ("next_day({DA}, 'xx')", 2), ("months_between({T}, {T})", 20), ("months_between({T}, {T}, false)", 6),
        ("{DA} + {iv}", 26), ("{TS} + {iv}", 36), ("{TS} - {iv}", 24), ("{TN} + {iv}", 10), ("unix_timestamp({T})", 12), ("unix_timestamp({S})", 8), ("unix_timestamp({S}, {pat})", 14), ("to_unix_timestamp({S}, 'yyyy-MM-dd')", 6), ("unix_millis({TS})", 7), ("unix_micros({TS})", 7), ("unix_seconds({TS})", 7), ("timestamp_seconds({N})", 24), ("timestamp_millis({I})", 12), ("timestamp_micros({I})", 12), ("from_unixtime({L})", 8), ("from_unixtime({I}, {pat})", 14), ("date_from_unix_date({i})", 8), ("unix_date({DA})", 6),
        ("to_timestamp({S})", 12), ("to_timestamp({S}, {pat})", 24), ("try_to_timestamp({S})", 8), ("try_to_timestamp({S}, {pat})", 14), ("to_date({S})", 10), ("to_date({S}, {pat})", 20), ("try_to_date({S}, {pat})", 4), ("to_date({TS})", 4), ("date({S})", 5), ("timestamp({S})", 5), ("date_format({T}, {pat})", 70), ("date_format({S}, 'yyyy')", 6), ("from_utc_timestamp({TS}, {zone})", 20), ("to_utc_timestamp({TS}, {zone})", 20), ("convert_timezone({zone}, {zone}, {TN})", 10), ("convert_timezone({zone}, {TN})", 5),
        ("make_date({i}, {p}, {p})", 16), ("make_date(2024, {p}, {p})", 10), ("make_timestamp(2024, {p}, {p}, {p}, {p}, {N})", 20), ("make_timestamp(2024, 1, 2, 3, 4, 5.5, {zone})", 6), ("make_timestamp_ntz(2024, {p}, {p}, 1, 2, 3.25)", 5), ("make_timestamp_ltz(2024, {p}, 1, 1, 2, 60)", 4), ("timestampdiff({tu}, {TS}, {TS})", 30), ("timestampadd({tu}, {p}, {TS})", 24), ("timestampadd({tu}, {n}, {TS})", 10), ("datediff({tu}, {DA}, {TS})", 10), ("dateadd({tu}, {p}, {DA})", 8), ("to_timestamp_ntz({S})", 6), ("to_timestamp_ltz({S})", 6), ("{TS} > {DA}", 6), ("window({TS}, '5 minutes').start", 4), ("TIMESTAMP '2024-01-01 10:00:00' + {iv}", 5), ("{TS} - make_interval(0, {p}, 0, {p}, {p}, 0, 1.5)", 8), ("{DA} + make_dt_interval({p}, 0, 0, 0)", 5), ("CAST({TS} AS STRING)", 8), ("CAST({S} AS TIMESTAMP)", 10), ("CAST({TS} AS DATE)", 8), ("CAST({DA} AS TIMESTAMP)", 7), ("CAST({TN} AS TIMESTAMP)", 3), ("CAST({TS} AS TIMESTAMP_NTZ)", 8),
    ],
    "collection": [
        ("size({A})", 8), ("size({MP})", 4), ("cardinality({A})", 4), ("array_size({A})", 4), ("array_contains({AI}, {i})", 14), ("array_contains({AS}, {S})", 6), ("array_distinct({A})", 9), ("sort_array({A})", 10), ("sort_array({AI}, false)", 5), ("array_sort({A})", 10), ("array_join({AS}, '+')", 2), ("array_join({AS}, '+', '?')", 2), ("array_join({AI}, ',')", 3), ("slice({A}, {n}, {p})", 24), ("array_position({AI}, {i})", 12), ("array_position({AS}, {S})", 5), ("array_max({A})", 9), ("array_min({A})", 9), ("array_remove({AI}, {i})", 12), ("array_compact({A})", 6), ("reverse({A})", 7), ("array_append({AI}, {N})", 10), ("array_prepend({AI}, {i})", 6), ("array_insert({AI}, {n}, 9)", 14), ("array_insert({AI}, {p}, {i})", 6),
        ("array_union({AI}, {AI})", 10), ("array_intersect({AI}, {AI})", 10), ("array_except({AI}, {AI})", 10), ("arrays_overlap({AI}, {AI})", 10), ("concat({AI}, {AI})", 8), ("concat({AI}, array({N}))", 8), ("flatten({AA})", 2), ("arrays_zip({AI}, {AS})", 6), ("array({N}, {N})", 16), ("array({ATOM}, {ATOM})", 12), ("array_repeat({ATOM}, {p})", 10), ("sequence({i}, {p})", 8), ("sequence({p}, {p}, 2)", 4), ("sequence({DA}, DATE '2024-03-05', INTERVAL 1 MONTH)", 3), ("sequence(1, 10, {n})", 6), ("shuffle({AI}) IS NULL", 3),
        ("{A}[{n}]", 24), ("{AI}[{i}]", 10), ("element_at({A}, {n})", 24), ("element_at({MP}, 'a')", 4), ("try_element_at({A}, {n})", 14), ("try_element_at({MP}, 'k')", 3), ("get({A}, {n})", 14), ("{MP}['a']", 4), ("{MP}['zz']", 4), ("map_keys({MP})", 4), ("map_values({MP})", 4), ("map_entries({MP})", 4), ("map_contains_key({MP}, 'a')", 4), ("map({S}, {N}, 'zz', {N})", 12), ("map('a', 1, 'a', 2)", 1), ("map_from_arrays({AS}, {AI})", 6), ("map_from_arrays(array('a', 'b'), array({N}, {N}))", 6), ("map_from_entries(array(struct('a', {N}), struct('b', {N})))", 5), ("map_concat({MI}, map('z', {i}))", 6), ("str_to_map({S})", 8), ("str_to_map('a:1,b:2,c')", 1), ("str_to_map('a=1&b=2', '&', '=')", 1),
        ("struct({ATOM}, {ATOM})", 12), ("named_struct('x', {ATOM}, 'y', {N})", 12), ("{O}.a", 3), ("{O}.c.d", 3), ("a_o.a", 1), ("a_o[{p}].b", 4), ("o.C.D", 1), ("transform({AI}, x -> x + 1)", 4), ("transform({AI}, (x, i) -> x * i)", 4), ("transform({AS}, s -> upper(s))", 2), ("transform({AI}, x -> x + {i})", 6), ("filter({AI}, x -> x > {i})", 8), ("filter({AI}, (x, i) -> i > 0)", 4), ("exists({AI}, x -> x > {i})", 10), ("forall({AI}, x -> x > {i})", 10), ("any_match({AI}, x -> x > 1)", 1), ("aggregate({AI}, 0, (s, x) -> s + x)", 4), ("aggregate({AI}, 0, (s, x) -> s + coalesce(x, 0), s -> s * 2)", 4), ("reduce({AI}, CAST(1 AS BIGINT), (s, x) -> s * coalesce(x, 1))", 4), ("zip_with({AI}, {AI}, (x, y) -> coalesce(x, 0) + coalesce(y, 0))", 8), ("map_filter({MI}, (k, v) -> v > 1)", 3), ("transform_values({MI}, (k, v) -> v + 1)", 3), ("transform_keys({MI}, (k, v) -> upper(k))", 3), ("map_zip_with({MI}, {MI}, (k, x, y) -> concat(k, x, y))", 4), ("array_sort({AI}, (x, y) -> y - x)", 3), ("transform({AA}, a -> size(a))", 2), ("transform({AI}, x -> transform(array(x), y -> y + x))", 3), ("filter({AI}, x -> x IS NOT NULL)", 3),
    ],
    "json": [
        ("get_json_object({J}, {path})", 60), ("from_json({J}, 'a INT, s STRING')", 4), ("from_json({J}, 'a STRING')", 4), ("from_json({J}, 'a INT').a", 4), ("from_json({J}, 'ARRAY<STRUCT<a: INT>>')", 4), ("from_json({J}, 'MAP<STRING, STRING>')", 4), ("from_json({J}, 'a INT, f DECIMAL(5,2), t BOOLEAN, n DATE')", 4), ("from_json({S}, 'a INT')", 6), ("from_json({J}, 'a INT, _corrupt_record STRING', map('columnNameOfCorruptRecord', '_corrupt_record'))", 4), ("from_json({J}, 'a INT', map('mode', 'FAILFAST'))", 4),
        ("to_json({O})", 3), ("to_json({A})", 9), ("to_json({MP})", 4), ("to_json(struct({ATOM}, {ATOM}))", 30), ("to_json(named_struct('t', {T}, 'd', {D}))", 20), ("to_json(named_struct('x', {ATOM}), map('ignoreNullFields', 'false'))", 8), ("to_json(named_struct('t', {T}), map('timestampFormat', 'dd/MM/yyyy HH:mm', 'dateFormat', 'yyyy'))", 5), ("schema_of_json('{{\"a\":1,\"b\":[1.5],\"c\":\"x\"}}')", 1), ("schema_of_json('[1,2]')", 1), ("json_array_length({J})", 4), ("json_object_keys({J})", 4), ("from_json({J}, schema_of_json('{{\"a\":1}}'))", 2), ("to_json({S})", 1),
    ],
    "hash": [
        ("md5({S})", 12), ("md5({Y})", 4), ("sha1({S})", 8), ("sha({S})", 2), ("sha2({S}, 256)", 8), ("sha2({S}, 0)", 2), ("sha2({S}, 224)", 2), ("sha2({S}, 384)", 2), ("sha2({S}, 512)", 3), ("sha2({S}, 100)", 2), ("crc32({S})", 8), ("crc32({Y})", 4), ("hash({ANY})", 90), ("hash({ANY}, {ANY})", 40), ("xxhash64({ANY})", 90), ("xxhash64({ANY}, {ANY})", 40),
    ],
    "url": [("parse_url({U}, {up})", 26), ("parse_url({U}, 'QUERY', 'k')", 3), ("parse_url({U}, 'QUERY', 'q')", 3), ("parse_url({S}, 'HOST')", 8), ("try_parse_url({S}, 'HOST')", 6), ("url_encode({U})", 3), ("url_encode({S})", 10), ("url_decode({U})", 3), ("url_decode(url_encode({S}))", 8), ("try_url_decode({S})", 6)],
    "regexp": [("{S} RLIKE {re}", 40), ("regexp_like({S}, {re})", 10), ("regexp({S}, {re})", 4), ("regexp_extract({S}, {re}, {gp})", 40), ("regexp_extract({S}, '([a-z]+)-([0-9]+)')", 6), ("regexp_extract_all({S}, {re}, 0)", 30), ("regexp_replace({S}, {re}, '#')", 40), ("regexp_replace({S}, '([a-z]+)-([0-9]+)', '$2$1')", 8), ("regexp_replace({S}, {re}, '_', {p})", 14), ("regexp_count({S}, {re})", 26), ("regexp_substr({S}, {re})", 26), ("regexp_instr({S}, {re})", 20), ("split({S}, {re})", 40), ("split({S}, ',', {n})", 20), ("split({S}, ',')", 10)],
    "number_format": [
        ("to_number('454', '999')", 1), ("to_number('454', '000')", 1), ("to_number('54', '000')", 1), ("to_number('54', '999')", 1), ("to_number('5454', '999')", 1), ("to_number('454.00', '000.00')", 1), ("to_number('454.0', '000.00')", 1), ("to_number('454.0', '999.99')", 1), ("to_number('454.', '999.99')", 1), ("to_number('454', '999.99')", 1), ("to_number('.5', '999.99')", 1), ("to_number('.5', '.99')", 1), ("to_number('12,454', '99,999')", 1), ("to_number('12454', '99,999')", 1), ("to_number('1,2454', '99,999')", 1), ("to_number('2,454', '99,999')", 1), ("to_number('454', '99,999')", 1), ("to_number(',454', '99,999')", 1), ("to_number('012,454', '000,999')", 1), ("to_number('12,454', '00,999')", 1), ("to_number('2,454', '00,999')", 1), ("to_number('12,454', '9,9,999')", 1), ("to_number('$78.12', '$99.99')", 1), ("to_number('78.12', '$99.99')", 1), ("to_number('78.12$', '99.99$')", 1), ("to_number('+$89,1,243.123', 'S$999,0,999.999')", 1), ("to_number('-12,454.8', 'S99G999D9')", 1), ("to_number('12,454.8-', '99,999.9S')", 1), ("to_number('12,454.8-', '99,999.9MI')", 1), ("to_number('-12,454.8', 'MI99,999.9')", 1), ("to_number('12,454.8', '99,999.9MI')", 1), ("to_number('+12,454.8', 'MI99,999.9')", 1), ("to_number('<12,454.8>', '99,999.9PR')", 1), ("to_number('12,454.8', '99,999.9PR')", 1), ("to_number('<12,454.8', '99,999.9PR')", 1), ("to_number(' 454', '999')", 1), ("to_number('454 ', '999')", 1), ("to_number('4 54', '999')", 1), ("to_number('', '999')", 1), ("to_number('abc', '999')", 1), ("to_number('-454', '999')", 1), ("to_number(NULL, '999')", 1), ("to_number(st_num, '99')", 1), ("to_number(st_n, '99')", 1), ("to_number(st_dec, '99.99')", 1), ("to_number('1', st_num)", 1), ("to_number('1', '')", 1), ("to_number('1', 'X')", 1), ("to_number('1', '9S9')", 1), ("to_number('1', '9.9.9')", 1), ("to_number('1', ',999')", 1), ("to_number('1', '999,')", 1), ("to_number('1', '$')", 1), ("to_number('1', '99$9')", 1), ("to_number('1', '9PR9')", 1), ("to_number('1.5', '9.')", 1), ("to_number('123', '99999999999999999999999999999999999999')", 1), ("to_number('123', '999999999999999999999999999999999999999')", 1), ("to_number('1', '9,999.999')", 1), ("to_number('1,234.567', '9,999.999')", 1), ("to_number('1,234.567', 's9,999.999')", 1), ("to_number('1d5', '9d9')", 1), ("to_number('1.5', '9d9')", 1), ("try_to_number('abc', '999')", 1), ("try_to_number('454', '999')", 1), ("try_to_number('454', 'X')", 1), ("to_number('99', '09')", 1), ("to_number('9', '09')", 1), ("to_number('9', '90')", 1), ("to_number('123', '909')", 1), ("to_number('23', '909')", 1), ("to_number('1,234', '0,000')", 1), ("to_number('234', '0,000')", 1), ("to_number('0.5', '0.9')", 1), ("to_number('12.345', '99.99')", 1), ("to_number('12.3', '99.90')", 1), ("to_number('12', '99.')", 1),
    ],
}
LENIENT = [("{NS} {OP} {NS}", 130), ("-{N}", 12), ("abs({N})", 10), ("CAST({ATOM} AS {TYPE})", 190), ("{A}[{n}]", 14), ("element_at({A}, {n})", 14), ("{NS} {CMP} {NS}", 30), ("coalesce({ATOM}, {ATOM})", 14), ("concat({S}, {ATOM})", 6), ("to_timestamp({S}, {pat})", 12), ("to_date({S})", 8), ("make_date({i}, {p}, {p})", 8), ("round({N}, {n})", 16), ("pmod({N}, {N})", 12), ("conv({S}, 10, 16)", 6), ("next_day({DA}, 'xx')", 3), ("size({A})", 4), ("year({S})", 5), ("elt({n}, {S}, {S})", 5), ("{MP}['zz']", 2)]
ZONED = [("CAST({TS} AS STRING)", 7), ("CAST({S} AS TIMESTAMP)", 8), ("CAST({TS} AS DATE)", 7), ("CAST({DA} AS TIMESTAMP)", 6), ("CAST({TN} AS TIMESTAMP)", 2), ("CAST({TS} AS TIMESTAMP_NTZ)", 7), ("hour({TS})", 7), ("date_trunc({unit}, {TS})", 30), ("extract({part} FROM {TS})", 16), ("date_format({TS}, {pat})", 34), ("to_timestamp({S}, {pat})", 10), ("{TS} + {iv}", 26), ("{TS} - {iv}", 16), ("timestampadd({tu}, {p}, {TS})", 20), ("timestampdiff({tu}, {TS}, {TS})", 16), ("from_unixtime({L})", 6), ("unix_timestamp({T})", 10), ("make_timestamp(2024, 3, 10, 2, 30, 0)", 1), ("months_between({TS}, {TS})", 8), ("{TS} > {DA}", 8), ("to_json(struct({TS}))", 6), ("from_utc_timestamp({TS}, {zone})", 8), ("CAST({N} AS TIMESTAMP)", 10), ("datediff({TS}, {DA})", 6), ("last_day({TS})", 4), ("year({TS})", 4)]


def drawn(rng, templates):
    made, seen = [], set()
    for template, wanted in templates:
        places = re.findall(r"\{(\w+)\}", template)
        wanted = max(1, round(wanted * SHARE))
        count = 0
        for _ in range(wanted * 6):
            if count == wanted:
                break
            text = re.sub(r"\{(\w+)\}", lambda m: rng.choice(CLASSES[m.group(1)]), template.replace("{{", "\0").replace("}}", "\1"))
            text = text.replace("\0", "{").replace("\1", "}")
            if text not in seen:
                seen.add(text)
                made.append(text)
                count += 1
            if not places:
                break
    return made


def groups(seed):
    """The files: name, settings, expressions."""
    rng = random.Random(seed)
    for family, templates in FAMILIES.items():
        yield family, {}, drawn(rng, templates)
    yield "lenient", {"spark.sql.ansi.enabled": "false"}, drawn(rng, LENIENT)
    yield "new_york", {"spark.sql.session.timeZone": "America/New_York"}, drawn(rng, ZONED)


def session(scratch):
    from pyspark.sql import SparkSession

    logging.disable()  # a refusal is an answer here
    builder = SparkSession.builder.master("local[1]").appName("alluvia-expressions")
    settings = {
        "spark.sql.session.timeZone": "UTC", "spark.sql.warehouse.dir": f"{scratch}/warehouse", "spark.local.dir": scratch,
        "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.memory": "1g", "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "1", "spark.log.level": "OFF", "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    }
    for key, value in settings.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def ddl():
    return ", ".join(f"{name} {kind}" for name, kind, _ in COLUMNS)


def row():
    return json.dumps({name: value for name, _, value in COLUMNS if value is not None}, ensure_ascii=False)


def error_class(error):
    for name in ("getCondition", "getErrorClass"):
        if hasattr(error, name) and getattr(error, name)():
            return getattr(error, name)()
    return type(error).__name__


def answer(spark, expression):
    try:
        frame = spark.sql(f"SELECT {expression} AS r FROM input")
    except Exception as error:
        return [expression, "?", error_class(error)]
    kind = frame.schema[0].dataType.simpleString()
    shown = "hex(r)" if kind == "binary" else "CAST(r AS STRING)"
    try:
        return [expression, kind, frame.selectExpr(f"{shown} AS r").collect()[0][0]]
    except Exception as error:
        return [expression, "!", error_class(error)]


# What a SELECT often has and the families above have not: names only.
NAMED = r"""
CAST(o.a AS STRING); CAST(input.i_0 AS STRING); CAST(a_i[0] AS STRING); CAST(i_0 + 1 AS STRING); CAST(CAST(i_0 AS STRING) AS INT); upper(CAST(i_0 AS STRING)); i_0 + CAST(st_num AS INT); CAST(upper(st_a) AS BINARY)
CAST(i_0 AS DECIMAL(10, 2)) + 1; try_cast(st_a AS INT) + 1; st_num::INT; st_num::INT + 1; CAST('1' AS INT); int(st_num); string(i_0); bigint('1') + 1; double(i_0) * 2; date(st_date); timestamp(st_ts); boolean(i_0); CAST((i_0) AS STRING)
o.a; input.o.a; o.c.d; a_i[0]; a_i[i_0]; mp_i['a']; mp_s['k']; a_o.a; a_o[0]; a_o[0].a; o['a']; `i_0`; input.i_0; (i_0); ((i_0 + 1)); I_0; (i_0 + 1) * 2; -i_0; - 5; -(i_0 + 1)
'x'; 1; 1.5; 1.5D; 2L; 3S; 4Y; 1.5F; 2.5BD; true; NULL; 1e3; DATE '2024-01-01'; TIMESTAMP '2024-01-01 00:00:00'; TIMESTAMP_NTZ '2024-01-01 00:00:00'; INTERVAL 1 DAY; INTERVAL '1-2' YEAR TO MONTH; X'1F'; 'it''s'; "text"
st_a || 'x' || st_abc; current_timestamp(); current_timestamp; current_date(); current_date; now(); i_0 BETWEEN 1 AND 2; i_0 NOT BETWEEN 1 AND 2; NOT bo_t; !bo_t; bo_t AND bo_f OR NOT bo_t; i_0 = 1; i_0 == 1; i_0 != 1; i_0 <> 1; i_0 <=> 1; i_0 IN (1, 2); i_0 NOT IN (1, 2)
st_a LIKE 'a%' ESCAPE '!'; st_a ILIKE 'a%'; st_a RLIKE 'a'; st_a REGEXP 'a'; st_a NOT RLIKE 'a'; st_a IS DISTINCT FROM 'a'; st_a IS NOT DISTINCT FROM 'a'; bo_t IS TRUE; bo_t IS NOT TRUE; bo_t IS FALSE; st_a IS NOT NULL; i_7 DIV 2; i_7 % 2; mod(i_7, 2); i_7 & 1; i_7 | 1; i_7 ^ 1; i_7 << 1; i_7 >> 1; i_7 >>> 1
if(bo_t, 1, 2); iff(bo_t, 1, 2); nvl(st_a, 'x'); nvl2(st_a, 1, 2); nullif(i_0, 1); coalesce(st_a, 'x'); ifnull(i_0, 1); UPPER(st_a); Upper(st_a); date_trunc('DAY', ts_l); trunc(da_l, 'MM'); to_date(st_date); to_date(st_date, 'yyyy-MM-dd'); to_timestamp(st_ts); to_timestamp(st_ts, 'yyyy'); from_unixtime(l_ts); unix_timestamp(st_ts)
unix_timestamp(); date_format(ts_l, 'yyyy'); concat_ws(',', st_a, 'b'); concat(st_a, 'b'); struct(i_0, st_a); struct(i_0 AS x); named_struct('a', 1); array(1, 2); array(); map('a', 1); size(a_i); cardinality(a_i); split(st_csv, ','); split(st_csv, ',')[0]; regexp_replace(st_a, 'a', 'b'); regexp_extract(st_rep, '([a-z]+)'); substring(st_a, 1, 2); substr(st_a, 2); substring(st_a FROM 1 FOR 2); left(st_a, 1)
round(d_1); round(d_1, 2); ceil(d_1); ceiling(d_1); floor(d_1); floor(d_1, 1); pow(i_2, 2); power(i_2, 2); log(d_1); log(2, d_1); exp(d_1); md5(st_a); sha2(st_a, 256); sha1(st_a); crc32(st_a); hash(i_0); xxhash64(i_0); base64(bi_h); hex(i_0); get_json_object(j_o, '$.a'); from_json(j_o, 'a INT'); from_json(j_o, 'a INT').a; to_json(o)
transform(a_i, x -> x + 1); filter(a_i, x -> x > 1); aggregate(a_i, 0, (s, x) -> s + x); exists(a_i, x -> x > 1); element_at(a_i, 1); element_at(mp_i, 'a'); array_contains(a_i, 1); array_join(a_s, ','); explode(a_i); length(st_a); char_length(st_a); trim(st_a); ltrim('a', st_a); trim(LEADING 'a' FROM st_a); trim(TRAILING FROM st_a); lpad(st_a, 5); lpad(st_a, 5, 'x'); date_add(da_l, 1); datediff(da_l, da_e); add_months(da_l, 1); year(ts_l); dayofweek(ts_l)
extract(YEAR FROM ts_l); date_part('YEAR', ts_l); datepart('YEAR', ts_l); make_date(2024, 1, 2); timestamp_millis(l_ms); timestamp_seconds(l_ts); ts_l + INTERVAL 1 HOUR; ts_l - INTERVAL 1 DAY; da_l + 1; da_l - 1; da_l - da_e; ts_l - ts_e; greatest(i_0, 1); least(i_0, 1); isnull(st_a); isnotnull(st_a); isnan(d_1); CASE WHEN bo_t THEN 1 END; CASE i_0 WHEN 1 THEN 'a' ELSE 'b' END; parse_url(u_1, 'HOST'); lower(trim(st_a)); nullif(trim(st_a), ''); try_add(i_0, 1); i_0 / 2; sign(i_0); negative(i_0); positive(i_0)
date_diff(da_l, da_e); sort_array(a_i); array_sort(a_i); decode(bi_h, 'UTF-8'); encode(st_a, 'UTF-8'); decode(i_2, 1, 'one', 'other'); position('a', st_a); position('a' IN st_a); locate('a', st_a); locate('a', st_a, 2); instr(st_a, 'a'); collate(st_a, 'UTF8_BINARY'); to_number('1', '9'); to_char(m52, '999.99'); uuid(); typeof(i_0); input.*
"""


def forms(seed):
    """One expression of each form: those that differ in columns and literals only are of one."""
    seen, words = set(), re.compile("|".join(rf"\b{name}\b" for name, _, _ in COLUMNS) + r"|'(?:[^'\\]|\\.)*'|\b[0-9][0-9.]*\b")
    for family, settings, expressions in groups(seed):
        for expression in expressions:
            form = words.sub("_", expression)
            if form not in seen and not settings:
                seen.add(form)
                yield expression
    yield from (expression.strip() for line in NAMED.strip().splitlines() for expression in line.split(";"))


def name_of(spark, expression):
    try:
        columns = spark.sql(f"SELECT {expression} FROM input").columns
        return columns[0] if len(columns) == 1 else None
    except Exception:
        return None


def by_hand(file):
    """The expressions of a file that people wrote: an array in each line, which begins with one."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line[0] for line in lines if isinstance(line, list)]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seed", type=int, default=15)
    arguments.add_argument("--write", type=Path)
    arguments.add_argument("--list", action="store_true")
    arguments.add_argument("--names", type=Path)
    arguments.add_argument("--functions", action="store_true")
    asked = arguments.parse_args()
    if asked.list:
        for _, _, expressions in groups(asked.seed):
            print("\n".join(expressions))
        return
    folder = asked.write.resolve() if asked.write else None
    names = asked.names.resolve() if asked.names else None
    with tempfile.TemporaryDirectory(prefix="alluvia-spark-") as scratch:
        os.chdir(scratch)
        spark = session(scratch)
        if asked.functions:
            print("\n".join(sorted({r[0] for r in spark.sql("SHOW SYSTEM FUNCTIONS").collect()})))
            return
        if names:
            spark.createDataFrame([], ddl()).createOrReplaceTempView("input")
            found = [(expression, name_of(spark, expression)) for expression in forms(asked.seed)]
            written = names.parent / "forms.jsonl"
            for file, pairs in [(names, found), (written, [(form, name_of(spark, form)) for form in by_hand(written)])]:
                lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs if pair[1] is not None]
                file.write_text("".join(lines))
                print(f"{file.name}: {len(pairs)} forms")
            return
        (folder / "input.json").write_text(json.dumps({"ddl": ddl(), "row": row()}, ensure_ascii=False, indent=1) + "\n")
        literal = row().replace("\\", "\\\\").replace("'", "\\'")
        total = 0
        written = ("forms", {}, by_hand(folder / "forms.jsonl"))
        for name, settings, expressions in [*groups(asked.seed), written]:
            spark.sql(f"SELECT r.* FROM (SELECT from_json('{literal}', '{ddl()}') AS r)").createOrReplaceTempView("input")
            for key, value in settings.items():
                spark.conf.set(key, value)
            seed = None if name == "forms" else asked.seed
            lines = [{"seed": seed, "conf": settings}] + [answer(spark, expression) for expression in expressions]
            for key in settings:
                spark.conf.set(key, "UTC" if key.endswith("timeZone") else "true")
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
            total += len(expressions)
            print(f"{name}: {len(expressions)} expressions", flush=True)
        print(f"seed {asked.seed}: {total} expressions")
        spark.stop()


if __name__ == "__main__":
    main()
