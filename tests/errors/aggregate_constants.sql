CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       approx_percentile_cont(dep_delay, 95) OVER w AS a,
       approx_percentile_cont(dep_delay, distance) OVER w AS b,
       nth_value(dest, 0) OVER w AS c
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
