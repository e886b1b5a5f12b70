CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       count(*) OVER w / 2.0, 1 + avg(dep_delay)
  OVER w
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
