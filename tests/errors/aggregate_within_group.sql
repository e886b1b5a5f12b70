CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY dep_delay) OVER w AS d
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
