CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       last_value(dest) FILTER (WHERE dep_delay > 15) OVER w AS last_late
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
