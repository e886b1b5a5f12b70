CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       abs(dep_delay) OVER w AS a,
       round(avg(dep_delay)) OVER w AS b,
       lower(DISTINCT carrier) AS c
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
