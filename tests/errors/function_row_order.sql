CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       lag(dep_delay) OVER w AS a,
       lead(dep_delay, 1) OVER w AS b,
       row_number() OVER w AS c,
       rank() OVER w AS d,
       ntile(4) OVER w AS e
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
