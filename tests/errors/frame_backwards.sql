CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       count(*) OVER w AS n
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND INTERVAL '2 hours' PRECEDING);
