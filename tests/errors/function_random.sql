CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       max(random()) OVER w AS r,
       max(uuid()) OVER w AS u
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
