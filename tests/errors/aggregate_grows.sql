CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       count(DISTINCT dest) OVER w AS destinations,
       array_agg(dest) OVER w AS d
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
