CREATE FEATURE VIEW v ENTITY airport AS
SELECT origin AS airport,
       sum(count(*) OVER w) OVER w AS n,
       sum(1 + avg(dep_delay)) OVER w AS s
FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
