CREATE FEATURE VIEW v ENTITY airport WITH (resolution = '1 minute') AS
SELECT origin AS airport,
       count(*) OVER w AS n
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '30 seconds' PRECEDING AND CURRENT ROW);
