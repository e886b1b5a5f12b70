CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       sum() OVER w AS a,
       sum(*) OVER w AS b,
       count(origin, dest) OVER w AS c,
       approx_percentile_cont(dep_delay) OVER w AS d,
       nth_value(dest) OVER w AS e,
       avg(x => dep_delay) OVER w AS f
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
