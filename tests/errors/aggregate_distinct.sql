CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       sum(DISTINCT distance) OVER w AS s,
       max(DISTINCT distance) OVER w AS m
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
