CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       median(dep_delay) OVER w AS a,
       corr(distance, dep_delay) OVER w AS b,
       string_agg(dest, ',') OVER w AS c
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
