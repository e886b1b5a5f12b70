CREATE FEATURE VIEW v ENTITY airport AS SELECT x AS airport, 1 AS n FROM generate_series(1, 5) x;
