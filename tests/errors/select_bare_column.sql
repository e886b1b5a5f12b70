CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       carrier AS last_carrier,
       dep_delay - avg(dep_delay) OVER w AS above_average
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
